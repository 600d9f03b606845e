//! Lost links.

use vmwire_protocol::xdr::Sampler;

use super::super::Resumed;
use super::*;

over_every_transport! {
    after_a_lost_link_only_reads_are_asked_again
    after_a_lost_link_events_go_on_behind_the_last_one
    a_subscription_that_was_not_answered_is_asked_for_again
    a_link_that_cannot_be_made_anew_in_time_is_lost_for_good
    an_attempt_that_our_own_time_ended_does_not_hide_how_the_link_was_lost
    a_daemon_that_keeps_going_away_is_not_asked_without_pause
    a_daemon_that_wants_to_be_asked_much_later_is_not_waited_for
    attempts_and_their_reason_can_be_seen_while_a_link_is_lost
    whoever_looks_often_does_not_keep_a_lost_link_from_coming_back
    a_console_goes_on_behind_what_was_read_of_it
    a_console_of_another_daemon_begins_anew
}

fn after_a_lost_link_only_reads_are_asked_again(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let daemon = std::thread::spawn(move || {
        let mut first = Scripted::new(listener.accept(), 1);
        let _unanswered = first.call();
        let _unanswered = first.call();
        drop(first);
        let mut second = Scripted::new(listener.accept(), 1);
        let (ticket, data) = second.call();
        assert!(matches!(data, ClientData::HostInfo), "{data:?}");
        second.answer(ticket, &host_info(2));
        second.until_gone();
    });
    let mut connection = Connection::open(&uri, &Environment::default(), Options::default()).unwrap();
    let change = connection.begin(request::VmStop(vm("a")), None).unwrap();
    let read = connection.begin(request::HostInfo, None).unwrap();
    assert_eq!(connection.wait(read).unwrap().cpus, 2);
    let error = connection.wait(change).unwrap_err();
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
    drop(connection);
    daemon.join().unwrap();
}

fn after_a_lost_link_events_go_on_behind_the_last_one(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let daemon = std::thread::spawn(move || {
        let mut first = Scripted::new(listener.accept(), 1);
        assert_eq!(first.subscribed(10), None);
        first.event(10, 1);
        first.event(11, 1);
        drop(first);
        let mut second = Scripted::new(listener.accept(), 1);
        assert_eq!(second.subscribed(12), Some(cursor(11)));
        second.event(12, 1);
        drop(second);
        // Lost before an event came: still behind the same one.
        let mut third = Scripted::new(listener.accept(), 1);
        assert_eq!(third.subscribed(13), Some(cursor(12)));
        third.event(13, 1);
        third.until_gone();
    });
    let mut connection = Connection::open(&uri, &Environment::default(), Options::default()).unwrap();
    connection.subscribe(Subscription::default()).unwrap();
    for expected in 10..=13 {
        assert_eq!(sequence(connection.next_notice(None).unwrap()), expected);
    }
    drop(connection);
    daemon.join().unwrap();
}

fn a_subscription_that_was_not_answered_is_asked_for_again(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let daemon = std::thread::spawn(move || {
        let mut first = Scripted::new(listener.accept(), 1);
        let (_unanswered, data) = first.call();
        assert!(matches!(data, ClientData::Subscribe(_)), "{data:?}");
        drop(first);
        let mut second = Scripted::new(listener.accept(), 1);
        assert_eq!(second.subscribed(10), None);
        second.event(10, 1);
        second.until_gone();
    });
    let mut connection = Connection::open(&uri, &Environment::default(), Options::default()).unwrap();
    connection.subscribe(Subscription::default()).unwrap();
    assert_eq!(sequence(connection.next_notice(None).unwrap()), 10);
    drop(connection);
    daemon.join().unwrap();
}

fn a_link_that_cannot_be_made_anew_in_time_is_lost_for_good(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_secs(2), ..Options::default() };
    let daemon = std::thread::spawn(move || assert!(Scripted::greet_and_go(listener.accept())));
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    daemon.join().unwrap();
    let began = Instant::now();
    let error = connection.call(request::HostInfo, None).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(connection.call(request::HostInfo, None).is_err());
}

fn an_attempt_that_our_own_time_ended_does_not_hide_how_the_link_was_lost(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_millis(500), ..Options::default() };
    let daemon = std::thread::spawn(move || {
        assert!(Scripted::greet_and_go(listener.accept()));
        // Whoever comes now is let in by the system, and greeted by nobody.
        listener
    });
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    let _listener = daemon.join().unwrap();
    let error = connection.call(request::HostInfo, None).unwrap_err();
    assert!(matches!(error, Error::Lost(_)) && !error.is_late(), "{error:?}");
}

fn a_daemon_that_keeps_going_away_is_not_asked_without_pause(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_secs(8), ..Options::default() };
    let daemon = std::thread::spawn(move || {
        let mut attempts = 0;
        while Scripted::greet_and_go(listener.accept()) {
            attempts += 1;
        }
        attempts
    });
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    let error = connection.call(request::HostInfo, None).unwrap_err();
    assert!(matches!(error, Error::Lost(_)), "{error:?}");
    // One more who says that it is over.
    knock(&uri);
    let attempts = daemon.join().unwrap();
    assert!((3..20).contains(&attempts), "{attempts} attempts");
}

fn a_daemon_that_wants_to_be_asked_much_later_is_not_waited_for(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_millis(500), ..Options::default() };
    let daemon = std::thread::spawn(move || {
        let mut daemon = Scripted::new(listener.accept(), 1);
        let _unanswered = daemon.call();
        let full = Failure { retry_after_ms: u32::MAX, ..Failure::new(code::OVERLOADED, "full") };
        daemon.session.close(full);
        daemon.flush();
        daemon.until_gone();
    });
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    let began = Instant::now();
    let error = connection.call(request::HostInfo, Some(Duration::from_secs(90))).unwrap_err();
    assert!(error.is(code::OVERLOADED), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    daemon.join().unwrap();
}

fn attempts_and_their_reason_can_be_seen_while_a_link_is_lost(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let daemon = std::thread::spawn(move || {
        let mut first = Scripted::new(listener.accept(), 1);
        first.subscribed(1);
        (first, listener)
    });
    let mut connection = Connection::open(
        &uri,
        &Environment::default(),
        Options { reconnect: Duration::from_secs(120), ..Options::default() },
    )
    .unwrap();
    connection.subscribe(Subscription::default()).unwrap();
    assert!(connection.outage().is_none());
    let (first, listener) = daemon.join().unwrap();
    drop((first, listener));
    let mut before = 0;
    while before < 3 {
        // Much shorter than the pauses, which go on all the same.
        assert_eq!(connection.next_notice(Some(Duration::from_millis(5))).unwrap(), None);
        let Some(outage) = connection.outage() else { continue };
        assert!(outage.attempts >= before && outage.lasted < Duration::from_secs(60), "{outage:?}");
        assert!(outage.attempts == 0 || matches!(outage.error, Error::Connect { .. }), "{outage:?}");
        before = outage.attempts;
    }
    assert_eq!(connection.reconnections(), 0);
}

fn whoever_looks_often_does_not_keep_a_lost_link_from_coming_back(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_secs(120), ..Options::default() };
    let daemon = std::thread::spawn(move || {
        let mut first = Scripted::new(listener.accept(), 1);
        first.subscribed(1);
        drop(first);
        for _ in 0..6 {
            Scripted::greet_and_go(listener.accept());
        }
        let mut last = Scripted::new(listener.accept(), 1);
        last.subscribed(1);
        last.event(1, 1);
        last.until_gone();
    });
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    connection.subscribe(Subscription::default()).unwrap();
    // The pauses soon get longer than the looks are apart.
    let began = Instant::now();
    let notice = loop {
        assert!(began.elapsed() < Duration::from_secs(100), "it does not come back");
        if let Some(notice) = connection.next_notice(Some(Duration::from_millis(20))).unwrap() {
            break notice;
        }
    };
    assert_eq!(sequence(Some(notice)), 1);
    drop(connection);
    daemon.join().unwrap();
}

/// What a console is opened with on a link: the process of the daemon, where the output that it keeps begins, and that.
type Opened = (u32, u64, &'static [u8]);

/// Reads `first`, loses the link, and goes on with `second`. Answers what comes then, and how it went on.
fn resumed(over: Over, first: Opened, second: Opened) -> (Resumed, u64, Vec<u8>) {
    let Place { _directory, listener, uri } = place(over);
    let daemon = std::thread::spawn(move || {
        for (pid, offset, output) in [first, second] {
            let mut daemon = Scripted::new(listener.accept(), 1);
            let (show, data) = daemon.call();
            assert!(matches!(data, ClientData::VmShow(_)), "{data:?}");
            let (info, data) = daemon.call();
            assert!(matches!(data, ClientData::DaemonInfo), "{data:?}");
            let mut answer = ServerData::sample(info.number(), &mut Sampler::new(1)).unwrap();
            let ServerData::DaemonInfo(about) = &mut answer else { panic!("{answer:?}") };
            about.pid = pid;
            daemon.answer(info, &answer);
            daemon.answer(show, &shown("a", 1));
            let (open, data) = daemon.call();
            let ClientData::ConsoleOpen(call) = data else { panic!("{data:?}") };
            assert_eq!(call.mode, console_mode::READ);
            let stream = daemon.session.stream_open().unwrap();
            daemon
                .answer(open, &ServerData::ConsoleOpen(ConsoleOpenAnswer { stream, offset, writer: Text::default() }));
            daemon.session.stream_send(stream, 0, offset, output).unwrap();
            daemon.session.stream_end(stream, None);
            daemon.flush();
            let _gone = daemon.next_but_room();
        }
    });
    let call = ConsoleOpenCall { vm: Text::clipped("a"), mode: console_mode::READ, history_bytes: 0 };
    let mut connection = Connection::open(&uri, &Environment::default(), Options::default()).unwrap();
    let mut source = connection.console_source(&call.vm, None).unwrap();
    let mut console = connection.open_console(call.clone(), None).unwrap();
    let read = connection.read_console(&mut console, None).unwrap();
    assert_eq!(read, Some(Received::Data { lost: 0, data: first.2.to_vec() }));
    connection.lose(&Error::Lost(Lost::Closed));
    while !connection.is_connected() {
        connection.reconnect_beside(None, Duration::from_secs(10)).unwrap();
    }
    let resumed = connection.resume_console(&mut console, &mut source, call, None).unwrap();
    let (mut lost, mut data) = (0, Vec::new());
    while let Some(Received::Data { lost: more, data: bytes }) = connection.read_console(&mut console, None).unwrap() {
        lost += more;
        data.extend(bytes);
    }
    drop(connection);
    daemon.join().unwrap();
    (resumed, lost, data)
}

fn a_console_goes_on_behind_what_was_read_of_it(over: Over) {
    let known = resumed(over, (7, 100, b"hello "), (7, 100, b"hello world"));
    assert_eq!(known, (Resumed::Behind, 0, b"world".to_vec()), "what was read does not come again");
    let jump = resumed(over, (7, 100, b"hello "), (7, 150, b"there"));
    assert_eq!(jump, (Resumed::Behind, 44, b"there".to_vec()), "what is lost is counted");
    let nothing = resumed(over, (7, 100, b"hello "), (7, 98, b"a hello "));
    assert_eq!(nothing, (Resumed::Behind, 0, Vec::new()));
}

fn a_console_of_another_daemon_begins_anew(over: Over) {
    let anew = resumed(over, (7, 100, b"hello "), (8, 0, b"boot"));
    assert_eq!(anew, (Resumed::Anew, 0, b"boot".to_vec()));
    let anew = resumed(over, (7, 0, b"hello "), (8, 0, b"world and more"));
    assert_eq!(anew, (Resumed::Anew, 0, b"world and more".to_vec()), "positions of another one mean nothing");
}
