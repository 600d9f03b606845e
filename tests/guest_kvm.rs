//! What was found of KVM is kept for a boot of the host, and found anew when it may have changed.

use serde_json::{Value, json};

use crate::harness::{Daemon, Setup, eventually, has_qemu, skip};

/// Why KVM is not usable, as the daemon says.
fn why_not(daemon: &Daemon) -> Value {
    let capabilities = daemon.json(&["host", "capabilities"]);
    let all = capabilities["accelerators"].as_array().unwrap();
    all.iter().find(|accelerator| accelerator["name"] == "kvm").unwrap()["why_not"].clone()
}

/// A daemon in this place that has proved it, and why it is not usable. A busy machine may not let a proof end in time, which is
/// not kept; then the next daemon tries.
fn proved(setup: &Setup) -> (Daemon, Value) {
    eventually("it is proved in time", || {
        let daemon = setup.start();
        let why_not = why_not(&daemon);
        (why_not != "the proof took more than a second").then_some((daemon, why_not))
    })
}

#[test]
fn the_proof_of_kvm_holds_until_what_it_depends_on_is_another() {
    let test = "the_proof_of_kvm_holds_until_what_it_depends_on_is_another";
    if std::env::var_os("VMWIRE_ACCEL").is_some() {
        return skip(test, "VMWIRE_ACCEL is set, so that nothing is proved");
    }
    if !has_qemu(test) {
        return;
    }
    let (daemon, why_not_usable) = proved(&Setup::qemu());
    let file = daemon.place().runtime_dir().join("kvm.proof");
    let read = || serde_json::from_slice::<Value>(&std::fs::read(&file).ok()?).ok();
    let kept = eventually("it is kept", read);
    assert_eq!(kept["why_not"], why_not_usable, "{kept:#}");

    // Another daemon says what stands there, without proving anything.
    let setup = daemon.stopped();
    let mut told = kept.clone();
    told["why_not"] = json!("this is what the story wrote");
    std::fs::write(&file, told.to_string()).unwrap();
    let daemon = setup.start();
    assert_eq!(why_not(&daemon), "this is what the story wrote");

    // Under other circumstances, or when it cannot be read, it is proved again, and kept again.
    let setup = daemon.stopped();
    told["under"]["device"] = Value::Null;
    told["under"]["boot_id"] = json!("another");
    for content in [told.to_string(), "nonsense".to_owned()] {
        std::fs::write(&file, content).unwrap();
        let (daemon, why_not) = proved(&setup);
        assert_eq!(why_not, why_not_usable);
        eventually("it is kept again", || (read()? == kept).then_some(()));
        daemon.stopped();
    }
}
