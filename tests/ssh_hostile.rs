//! By ssh2, against servers that are not what they should be: each is given up in words, in its time, and takes no memory
//! for what nobody waits for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use crate::harness::{Far, Native, Running, SOON, SshdSetup, eventually};

/// More than a client takes that is connected, and far less than a host can say in a second.
const MEBIBYTES_MAX: u64 = 48;

/// A string of SSH.
fn string(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// A packet of SSH before there are keys.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 + 3 - (payload.len() + 8) % 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding]].concat()
}

/// What a host has to offer.
fn offer(lists: [&str; 4]) -> Vec<u8> {
    let [kex, host_key, cipher, mac] = lists;
    let lists = [kex, host_key, cipher, cipher, mac, mac, "none", "none", "", ""];
    packet(&[&[20][..], &[7; 16], &lists.map(|list| string(list.as_bytes())).concat(), &[0; 5]].concat())
}

fn usual() -> Vec<u8> {
    [b"SSH-2.0-x\r\n", &offer(["curve25519-sha256", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256"])[..]].concat()
}

/// Somebody who says something to whoever comes, and then something else again and again.
fn says(first: Vec<u8>, again: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the story: nobody reads what it says once the client has gone.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, first, again) = (stream.unwrap(), first.clone(), again.clone());
            std::thread::spawn(move || {
                let mut said = stream.write_all(&first);
                while said.is_ok() && !again.is_empty() {
                    said = stream.write_all(&again);
                }
                // Until the other end goes.
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
            });
        }
    });
    address
}

/// The most that a process has had, in MiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().unwrap() / 1024)
}

/// Lists virtual machines, which has to fail; answers the message, and how much memory it took.
fn fails(story: &Native, uri: &str, codes: &[i32]) -> (String, u64) {
    let mut command = story.sshd.command(&["-c", uri, "--timeout", "8s", "-o", "json", "vm", "list"]);
    // There is no terminal to be asked at where there is no session.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let began = Instant::now();
    let running = Running::start(command);
    let mut most = 0;
    eventually("it ends", || {
        let now = peak(running.pid());
        most = most.max(now.unwrap_or(0));
        now.is_none().then_some(())
    });
    let ran = running.end();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(!ran.err.trim_end().contains(|c: char| c.is_control()), "{ran:?}");
    assert!(codes.contains(&ran.code), "{ran:?}");
    let code = ran.code;
    let error = ran.error(code);
    assert_ne!(error["hint"], serde_json::Value::Null, "{error}");
    (error["message"].as_str().unwrap().to_owned(), most)
}

#[test]
fn a_host_that_talks_of_other_things_is_found_out_and_takes_no_memory() {
    let story = Native::start(SshdSetup::default());
    let version = b"SSH-2.0-x\r\n".to_vec();
    let evil = b"\x1b[2J\x07all is well\r\n".repeat(500);
    let banner = "before it said which SSH it speaks";
    let keys = "while keys were agreed on";
    let table = [
        ("lines without end", Vec::new(), evil.clone(), banner),
        ("a line without end", Vec::new(), vec![b'a'; 65_536], banner),
        (
            "packets that mean nothing",
            version.clone(),
            packet(&[&[2][..], &string(&[0; 1000])].concat()).repeat(50),
            keys,
        ),
        (
            "words for a log",
            usual(),
            packet(&[&[4, 1][..], &string(&evil[..900]), &string(b"")].concat()).repeat(50),
            keys,
        ),
        // libssh2 would keep each of these.
        ("packets that nobody knows", version, packet(&[&[192][..], &[0; 30_000]].concat()), keys),
        ("offers without end", usual(), usual().split_off(11).repeat(50), keys),
        ("answers to what nobody asked", usual(), packet(&[&[32][..], &[0; 30_000]].concat()), keys),
    ];
    for (what, first, again, stage) in table {
        let address = says(first, again);
        // Whichever comes first: libssh2 reads lines byte by byte.
        let (message, most) = fails(&story, &story.uri_at(address, ""), &[3, 6]);
        let words = ["talked of too much else", "talked on for too long"];
        let words = words.map(|words| format!("root@{address} {words} {stage}"));
        assert!(words.contains(&message), "{what}: {message}");
        assert!(most < MEBIBYTES_MAX, "{what}: {most} MiB");
    }
}

#[test]
fn a_handshake_that_makes_no_sense_is_refused_in_words() {
    let story = Native::start(SshdSetup::default());
    let good = ["curve25519-sha256", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256"];
    let with = |index: usize, list: &'static str| {
        let mut lists = good;
        lists[index] = list;
        [b"SSH-2.0-x\r\n", &offer(lists)[..]].concat()
    };
    let broken = |more: &[u8]| [b"SSH-2.0-x\r\n", more].concat();
    let nothing = |what: &str| format!("AT offers nothing for the {what} that is taken here");
    let failed = "no SSH with AT: it failed while keys were agreed on".to_owned();
    let reply = [&[31][..], &string(b""), &string(b""), &string(b"")].concat();
    let table = [
        (with(0, "diffie-hellman-group1-sha1,diffie-hellman-group14-sha1"), nothing("key exchange")),
        (with(0, "\u{1b}[2J\u{202e}"), nothing("key exchange")),
        (with(1, "ssh-dss,ssh-rsa"), nothing("host key")),
        (with(2, "3des-cbc,aes256-cbc,arcfour"), nothing("cipher")),
        (with(3, "hmac-md5,hmac-sha1"), nothing("MAC")),
        (broken(&[0xff; 64]), failed.clone()),
        (broken(&[0; 64]), failed.clone()),
        ([usual(), packet(&reply)].concat(), failed.clone()),
        ([usual(), packet(&[31; 64])].concat(), failed.clone()),
        (
            [usual(), packet(&[&[1, 0, 0, 0, 2][..], &string(b"\x1b[2Jgo away"), &string(b"")].concat())].concat(),
            failed,
        ),
    ];
    for (number, (said, message)) in table.into_iter().enumerate() {
        let address = says(said, Vec::new());
        let uri = story.uri_at(address, "");
        let ran = Running::start(story.alone(&["-c", &uri, "--timeout", "20s", "-o", "json", "vm", "list"])).end();
        assert!(!ran.err.trim_end().contains(|c: char| c.is_control()), "{number}: {ran:?}");
        let error = ran.error(3);
        assert_eq!(error["message"], message.replace("AT", &format!("root@{address}")), "{number}: {error}");
    }
}

#[test]
fn a_far_side_that_fills_everything_is_given_up_and_takes_no_memory() {
    let story = Native::start(SshdSetup::default().line("AllowStreamLocalForwarding no"));
    let uri = story.uri(&format!("&keyfile={}", story.sshd.key().display()));
    let far = |script: &str| story.sshd.far(Far::Script(script));
    let magic = "printf '\\211VMW'";
    for (script, code, begins) in [
        ("exec cat /dev/zero", 3, "vm1 printed \"\\0\\0"),
        ("yes \"$(printf '\\033[2Jwater')\" >&2", 6, "no daemon by ssh to vm1 within "),
        ("tr '\\0' x </dev/zero >&2", 6, "no daemon by ssh to vm1 within "),
        (&format!("{magic}; exec cat /dev/zero"), 3, "the daemon does not keep to the protocol: "),
        (
            &format!("{magic}; printf '\\0\\077\\377\\374'; exec tr '\\0' x </dev/zero"),
            3,
            "the daemon does not keep to ",
        ),
        ("kill -KILL $$", 3, "ssh to vm1 ended with signal: KILL"),
    ] {
        far(script);
        let (message, most) = fails(&story, &uri, &[code]);
        assert!(message.starts_with(begins), "{script}: {message}");
        assert!(most < MEBIBYTES_MAX, "{script}: {most} MiB");
    }
}
