//! Files of a URI whose names mean something to ssh, to its option parser or to a shell: by ssh2 and by the program they are
//! the same files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Native, SshdSetup};

/// Names of files, each of which ssh would read otherwise if it were let.
const NAMES: [&str; 14] = [
    "a b",
    " a ",
    "%h",
    "%%h%",
    "\"",
    "q\"u'o\"te",
    "back\\slash\\",
    "\\\"",
    "#x",
    "none",
    "~",
    "$HOME",
    "$(id)",
    "é\u{1b}\t\n",
];

fn encoded(path: &str) -> String {
    path.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_key_and_known_hosts_are_found_under_any_name_by_either_way() {
    let story = Native::start(SshdSetup::default());
    story.sshd.place().write("ssh_config", "BatchMode yes\nStrictHostKeyChecking yes\nGlobalKnownHostsFile none\n");
    let socket = story.daemon.socket();
    for name in NAMES {
        let directory = story.path("named");
        std::fs::create_dir_all(&directory).unwrap();
        let (key, hosts) = (directory.join(name), directory.join(format!("{name}.hosts")));
        std::fs::copy(story.sshd.key(), &key).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        std::fs::copy(story.sshd.known_hosts(), &hosts).unwrap();
        for transport in ["ssh2", "ssh"] {
            story.lists_at(&format!(
                "test+ssh://root@{}/default?socket={}&transport={transport}&keyfile={}&known_hosts={}",
                story.sshd.address(),
                socket.display(),
                encoded(key.to_str().unwrap()),
                encoded(hosts.to_str().unwrap())
            ));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn a_variable_in_the_name_of_a_file_is_refused_by_either_way() {
    let story = Native::start(SshdSetup::default());
    for (parameter, transport) in
        [("keyfile", "ssh2"), ("keyfile", "ssh"), ("known_hosts", "ssh2"), ("known_hosts", "ssh")]
    {
        let uri = format!("qemu+ssh://vm1/system?transport={transport}&{parameter}=/home/${{USER}}/x");
        let error = story.sshd.vmwire(&["-c", &uri, "-o", "json", "vm", "list"]).error(2);
        assert_eq!(error["message"], format!("-c: the {parameter} has a ${{ in its path"));
        let hint = "the ssh program would put a variable of the environment there; write the path itself";
        assert_eq!(error["hint"], hint);
    }
}
