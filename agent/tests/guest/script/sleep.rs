//! Sleep, by each way that a guest may have to it. Programs and the kernel's file are stand-ins that write down what they are asked, so
//! that nobody falls asleep.

use serde_json::json;

use super::Script;

const STAND_INS: &str = r#"
    mkdir -p /tmp/sleep
    echo 'freeze mem disk' >/tmp/sleep/state
    mount -o bind /tmp/sleep/state /sys/power/state
    stand_in() {
        printf '#!/bin/sh\necho "$0 $*" >>/tmp/sleep/calls\ncase $1 in status) exit $(cat /tmp/sleep/status) ;; esac\nexit $(cat /tmp/sleep/%s)\n' "$2" >"/bin/$1"
        chmod 755 "/bin/$1"
    }
    stand_in systemctl systemctl
    stand_in pm-is-supported supported
    for program in pm-hibernate pm-suspend pm-suspend-hybrid; do
        stand_in $program program
    done
"#;

/// What each stand-in says: of a service's status, of being asked for it, of what is supported, of being asked for that.
const GUESTS: [(&str, [u8; 4]); 7] = [
    ("that has systemd", [3, 0, 1, 1]),
    ("whose systemd runs the service", [0, 0, 1, 1]),
    ("whose systemd fails", [1, 1, 1, 1]),
    ("whose systemd fails beside pm-utils", [3, 1, 0, 0]),
    ("that has pm-utils", [4, 0, 0, 0]),
    ("whose pm-utils fail", [4, 0, 0, 1]),
    ("that has neither", [4, 0, 1, 0]),
];

pub(super) fn sleeping(script: &mut Script) {
    script.shell("stand-ins for sleep", STAND_INS);
    for (guest, [status, systemctl, supported, program]) in GUESTS {
        script.shell(
            &format!("a guest {guest}"),
            &format!(
                "cd /tmp/sleep; echo {status} >status; echo {systemctl} >systemctl; echo {supported} >supported; \
                 echo {program} >program"
            ),
        );
        for kind in ["disk", "ram", "hybrid"] {
            script.ask(&format!("suspend-{kind} of a guest {guest}"), &format!("guest-suspend-{kind}"), &json!({}));
            script.shell(
                &format!("calls for suspend-{kind} of a guest {guest}"),
                "cd /tmp/sleep; cat calls; head -c 3 state; rm -f calls; echo 'freeze mem disk' >state",
            );
        }
    }
    script.shell("a guest that sleeps in no way", "echo freeze >/tmp/sleep/state");
    for kind in ["disk", "ram", "hybrid"] {
        script.ask(&format!("suspend-{kind} that there is not"), &format!("guest-suspend-{kind}"), &json!({}));
    }
    script.shell("no stand-ins for sleep", "umount /sys/power/state; rm -r /tmp/sleep /bin/systemctl /bin/pm-*");
}
