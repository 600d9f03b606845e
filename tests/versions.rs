//! Old and new peers: a client of 1.0 and a daemon of 1.1, and the other way round.

use serde_json::Value;
use vmwire_client::connection::{Connection, Options};
use vmwire_client::request;
use vmwire_client::transport::Environment;
use vmwire_client::uri::Uri;
use vmwire_protocol::message::{ListCall, VmCell, VmFilter, VmListCall, code, filter_comparison, number, vm_field};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Daemon, Way, by_every_way};

by_every_way!(
    a_list_is_the_same_in_one_round_trip_and_one_by_one,
    an_old_client_that_asks_for_what_is_new_is_told_so_and_lives_on,
    a_new_client_falls_back_before_an_old_daemon,
);

const FIELDS: [u32; 16] = [
    vm_field::NAME,
    vm_field::UUID,
    vm_field::STATE,
    vm_field::REASON,
    vm_field::SINCE_NS,
    vm_field::TITLE,
    vm_field::MEMORY_BYTES,
    vm_field::CPUS,
    vm_field::MACHINE,
    vm_field::ACCELERATOR,
    vm_field::PID,
    vm_field::AUTOSTART,
    vm_field::OPERATION,
    vm_field::DISKS,
    vm_field::FORWARDS,
    vm_field::CHANNELS,
];

fn connect(daemon: &Daemon, way: Way, newest_minor: u32) -> Connection {
    let options = Options { newest_minor, ..Options::default() };
    let uri: Uri = daemon.uri_by(way).parse().unwrap();
    Connection::open(&uri, &Environment::default(), options).unwrap()
}

fn populate(daemon: &Daemon) {
    for index in 0..40 {
        daemon.define(&format!(
            "name = \"vm-{index}\"\nmemory = \"{} MiB\"\ntitle = \"number {index}\"\nchannels = [\"a\", \"b\"]\n\
             [cpu]\ncount = {}\n[[disk]]\npath = \"/d/{index}\"\nformat = \"raw\"\n\
             [[nic]]\nnetwork = \"user\"\noutbound = true\nforward = [\"{}:22\"]\n",
            64 + index,
            1 + index % 4,
            2000 + index,
        ));
    }
    daemon.ok(&["vm", "start", "vm-3", "vm-4"]);
}

fn a_list_is_the_same_in_one_round_trip_and_one_by_one(way: Way) {
    let daemon = way.setup().start();
    populate(&daemon);
    let filters: [&[VmFilter]; 3] = [
        &[],
        &[VmFilter {
            field: vm_field::NAME,
            comparison: filter_comparison::MATCHES,
            value: VmCell::Text(Text::clipped("vm-1*")),
        }],
        &[VmFilter { field: vm_field::CPUS, comparison: filter_comparison::AT_LEAST, value: VmCell::Number(3) }],
    ];
    let (mut new, mut old) = (connect(&daemon, way, 1), connect(&daemon, way, 0));
    assert_eq!((new.minor(), old.minor()), (1, 0));
    for filters in filters {
        let quick = new.list_vms(&FIELDS, filters, None).unwrap();
        let slow = old.list_vms(&FIELDS, filters, None).unwrap();
        assert!(!quick.rows.is_empty());
        assert_eq!(quick.rows, slow.rows);
    }
    let calls = |connection: &mut Connection| {
        let list = connection.call(request::ConnectionList(ListCall { after: Text::default(), rows_max: 0 }), None);
        list.unwrap().rows.iter().find(|row| row.own).unwrap().calls
    };
    assert!(calls(&mut new) < 10 && calls(&mut old) > 100, "the second asked one by one");
}

fn an_old_client_that_asks_for_what_is_new_is_told_so_and_lives_on(way: Way) {
    let daemon = way.setup().start();
    let mut old = connect(&daemon, way, 0);
    let call = VmListCall {
        fields: List::clipped([vm_field::NAME]),
        filters: List::default(),
        after: Text::default(),
        rows_max: 0,
    };
    let error = old.call(request::VmList(call), None).unwrap_err();
    assert!(error.is(code::UNSUPPORTED), "{error}");
    assert_eq!(error.failure().unwrap().fact("minor"), Some("1"));
    old.call(request::Ping, None).unwrap();
}

fn a_new_client_falls_back_before_an_old_daemon(way: Way) {
    let daemon = way.setup().argument("--newest-minor").argument("0").start();
    populate(&daemon);
    let json = |daemon: &Daemon, words: &[&str]| daemon.vmwire_by(way, &[&["-o", "json"], words].concat()).json();
    let versions = json(&daemon, &["version"]);
    assert_eq!(
        (&versions["daemon"]["protocol_newest"], &versions["client"]["protocol"]),
        (&"1.0".into(), &"1.2".into())
    );
    assert_eq!(versions["daemon"]["protocol_agreed"], "1.0");
    let fields = "name,state,memory,cpus,disks,forwards";
    let old: Value = json(&daemon, &["vm", "list", "--fields", fields, "--filter", "state=running"]);
    assert_eq!(old.as_array().unwrap().len(), 2);
    assert_eq!(
        old[0],
        serde_json::json!({
            "name": "vm-3", "state": "running", "memory_bytes": 67 << 20, "cpus": 4,
            "disks": ["/d/3"], "forwards": ["127.0.0.1:2003:22/tcp"],
        })
    );
    let new = way.setup().start();
    populate(&new);
    assert_eq!(json(&new, &["vm", "list", "--fields", fields, "--filter", "state=running"]), old);
    // To a daemon of 1.0 the number is unknown altogether.
    let mut raw = daemon.raw_by(way);
    let serial = raw.send_next(0, number::VM_LIST, b"");
    assert_eq!(raw.failure(serial).code, code::UNKNOWN_PROCEDURE);
}
