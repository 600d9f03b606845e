//! The library against a scripted daemon, over every transport.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Cursor, Failure, Gap, HostInfoAnswer, Progress, ServerData, VmCall,
    VmCell, VmDefineAnswer, VmDefineCall, VmDefinitionAnswer, VmDoneAnswer, VmFilter, VmInfo, VmNamesAnswer, VmRef,
    VmShowAnswer, code, console_mode, filter_comparison, vm_field,
};
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::scripted::wire::{Over, Place, knock, place};
use super::scripted::{Came, EPOCH, Scripted, connected};
use super::{Connection, Notice, Options, Received, Subscription};
use crate::error::{Error, Lost};
use crate::request;
use crate::transport::Environment;

/// Every story is told over every transport: nothing above the link may notice a difference.
macro_rules! over_every_transport {
    ($($story:ident)*) => {
        mod unix {
            $(#[test] fn $story() { super::$story(super::Over::Unix) })*
        }
        mod tcp {
            $(#[test] fn $story() { super::$story(super::Over::Tcp) })*
        }
        mod tls {
            $(#[test] fn $story() { super::$story(super::Over::Tls) })*
        }
    };
}

over_every_transport! {
    agrees_on_the_lesser_minor
    answers_in_any_order_reach_their_calls
    a_failure_is_an_error_and_the_connection_lives_on
    a_dropped_call_leaves_nothing_behind
    a_console_that_nobody_waits_for_is_closed
    a_call_too_many_waits_for_an_answer_but_a_cancel_does_not
    both_sides_may_write_much_at_once
    what_found_no_room_in_the_socket_is_written_as_soon_as_there_is_some
    progress_is_kept_as_the_latest
    an_answer_that_does_not_come_is_not_waited_for_for_ever
    a_request_that_fits_into_no_packet_is_refused_here
    a_silent_daemon_is_asked_and_then_given_up
    a_daemon_that_answers_ping_may_take_its_time
    the_last_words_of_a_daemon_are_heard_even_when_it_no_longer_listens
    events_that_come_while_a_call_is_waited_for_are_kept_in_order
    too_many_events_end_the_subscription_until_they_were_fetched
    a_daemon_that_floods_with_events_is_given_up
    a_console_is_bounded_by_what_was_fetched
    waiting_beside_something_else_tells_which_of_them_it_was
    after_a_lost_link_only_reads_are_asked_again
    after_a_lost_link_events_go_on_behind_the_last_one
    a_link_that_cannot_be_made_anew_in_time_is_lost_for_good
    a_daemon_that_keeps_going_away_is_not_asked_without_pause
    a_daemon_that_wants_to_be_asked_much_later_is_not_waited_for
    an_older_daemon_is_asked_for_names_and_then_for_each
}

fn vm(name: &str) -> VmCall {
    VmCall { vm: Text::clipped(name) }
}

fn shown(name: &str, memory_bytes: u64) -> ServerData {
    let vm = VmInfo { name: Text::clipped(name), memory_bytes, ..VmInfo::default() };
    ServerData::VmShow(VmShowAnswer { cursor: cursor(5), vm })
}

fn cursor(sequence: u64) -> Cursor {
    Cursor { epoch: EPOCH, sequence }
}

fn done(operation: u64) -> ServerData {
    ServerData::VmStop(VmDoneAnswer { operation, state: 1 })
}

fn host(cpus: u32) -> ServerData {
    ServerData::HostInfo(HostInfoAnswer {
        hostname: Text::clipped("h"),
        kernel: Text::clipped("k"),
        architecture: Text::clipped("a"),
        cpus,
        memory_bytes: 1,
        driver: Text::clipped("test"),
        hypervisor: Text::clipped(""),
        vms_defined: 0,
        vms_running: 0,
    })
}

fn sequence(notice: Option<Notice>) -> u64 {
    match notice {
        Some(Notice::Event(event)) => event.sequence,
        other => panic!("an event was due, and this came: {other:?}"),
    }
}

fn agrees_on_the_lesser_minor(over: Over) {
    for (ours, theirs, agreed) in [(1, 1, 1), (0, 1, 0), (1, 0, 0)] {
        let options = Options { newest_minor: ours, ..Options::default() };
        let (connection, daemon) = connected(over, theirs, options, Scripted::until_gone);
        assert_eq!(connection.minor(), agreed);
        assert_eq!(connection.hello().identity, "uid 7");
        drop(connection);
        daemon.join().unwrap();
    }
}

fn answers_in_any_order_reach_their_calls(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (first, _) = daemon.call();
        let (second, _) = daemon.call();
        daemon.answer(second, &done(2));
        daemon.answer(first, &host(1));
    });
    let first = connection.begin(request::HostInfo, None).unwrap();
    let second = connection.begin(request::VmStop(vm("a")), None).unwrap();
    assert_eq!(connection.wait(first).unwrap().cpus, 1);
    assert_eq!(connection.wait(second).unwrap().operation, 2);
    daemon.join().unwrap();
}

fn a_failure_is_an_error_and_the_connection_lives_on(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.fail(ticket, Failure::new(code::NOT_FOUND, "no such thing").about("vm", "a"));
        daemon.until_gone();
    });
    let error = connection.call(request::VmShow(vm("a")), None).unwrap_err();
    assert!(error.is(code::NOT_FOUND) && !error.ends_connection(), "{error:?}");
    connection.call(request::Ping, None).unwrap();
    drop(connection);
    daemon.join().unwrap();
}

fn a_dropped_call_leaves_nothing_behind(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        for _ in 0..2 {
            let (ticket, _) = daemon.call();
            daemon.answer(ticket, &host(1));
        }
        daemon.until_gone();
    });
    drop(connection.begin(request::HostInfo, None).unwrap());
    connection.call(request::HostInfo, None).unwrap();
    // The answer nobody waits for came before the other one; the next call sweeps it out.
    connection.call(request::Ping, None).unwrap();
    assert!(connection.calls.is_empty(), "{:?}", connection.calls);
    drop(connection);
    daemon.join().unwrap();
}

fn a_console_that_nobody_waits_for_is_closed(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        let (question, _) = daemon.call();
        let stream = daemon.session.stream_open().unwrap();
        let opened = ConsoleOpenAnswer { stream, offset: 0, writer: Text::clipped("") };
        daemon.answer(ticket, &ServerData::ConsoleOpen(opened));
        daemon.answer(question, &host(1));
        let came = daemon.next();
        assert!(matches!(came, Some(Came::Over)), "{came:?}");
    });
    let call = ConsoleOpenCall { vm: Text::clipped("a"), mode: console_mode::READ, history_bytes: 0 };
    drop(connection.begin(request::ConsoleOpen(call), None).unwrap());
    connection.call(request::HostInfo, None).unwrap();
    daemon.join().unwrap();
}

fn a_call_too_many_waits_for_an_answer_but_a_cancel_does_not(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let mut tickets: Vec<_> = (0..256).map(|_| daemon.call().0).collect();
        let Some(Came::Cancelled(serial)) = daemon.next() else { panic!("no CANCEL") };
        let at = tickets.iter().position(|ticket| ticket.serial() == serial).unwrap();
        daemon.fail(tickets.remove(at), Failure::new(code::CANCELLED, "as asked"));
        tickets.push(daemon.call().0);
        daemon.only_pings(Instant::now() + Duration::from_millis(100));
        for ticket in tickets {
            daemon.answer(ticket, &host(1));
        }
        let (ticket, _) = daemon.call();
        daemon.answer(ticket, &host(1));
    });
    let mut pending: Vec<_> = (0..256).map(|_| connection.begin(request::HostInfo, None).unwrap()).collect();
    let unwanted = pending.remove(17);
    assert!(connection.cancel(&unwanted).unwrap());
    assert!(connection.wait(unwanted).unwrap_err().is(code::CANCELLED));
    for _ in 0..2 {
        pending.push(connection.begin(request::HostInfo, None).unwrap());
    }
    for call in pending {
        connection.wait(call).unwrap();
    }
    daemon.join().unwrap();
}

fn both_sides_may_write_much_at_once(over: Over) {
    let text = "x".repeat(49152);
    let long = text.clone();
    let (mut connection, daemon) = connected(over, 1, Options::default(), move |mut daemon| {
        // Writes each answer before it reads the next call, and so stalls unless the client reads while it writes.
        for _ in 0..200 {
            let (ticket, data) = daemon.call();
            let answer = match data {
                ClientData::VmDefine(_) => {
                    let vm = VmRef { uuid: Fixed::default(), name: Text::clipped("a") };
                    ServerData::VmDefine(VmDefineAnswer { operation: 1, vm })
                }
                _ => ServerData::VmDefinition(VmDefinitionAnswer { definition: Text::clipped(&long) }),
            };
            daemon.answer(ticket, &answer);
        }
    });
    let mut defines = Vec::new();
    let mut definitions = Vec::new();
    for _ in 0..100 {
        let call = VmDefineCall { definition: Text::clipped(&text), replace: false };
        defines.push(connection.begin(request::VmDefine(call), None).unwrap());
        definitions.push(connection.begin(request::VmDefinition(vm("a")), None).unwrap());
    }
    for call in definitions {
        assert_eq!(connection.wait(call).unwrap().definition, text.as_str());
    }
    for call in defines {
        connection.wait(call).unwrap();
    }
    daemon.join().unwrap();
}

fn what_found_no_room_in_the_socket_is_written_as_soon_as_there_is_some(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), move |mut daemon| {
        // Says nothing that could wake the client before it has everything.
        let tickets: Vec<_> = (0..40).map(|_| daemon.call().0).collect();
        for ticket in tickets {
            let vm = VmRef { uuid: Fixed::default(), name: Text::clipped("a") };
            daemon.answer(ticket, &ServerData::VmDefine(VmDefineAnswer { operation: 1, vm }));
        }
    });
    let call = VmDefineCall { definition: Text::clipped(&"x".repeat(49152)), replace: false };
    let defines: Vec<_> = (0..40).map(|_| connection.begin(request::VmDefine(call.clone()), None).unwrap()).collect();
    for call in defines {
        connection.wait(call).unwrap();
    }
    daemon.join().unwrap();
}

fn progress_is_kept_as_the_latest(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        for done in 1..=3 {
            daemon.session.progress(ticket.serial(), Progress { done, total: 3, what: Text::clipped("steps") });
            daemon.flush();
        }
        let (question, _) = daemon.call();
        daemon.answer(question, &host(1));
        daemon.answer(ticket, &done(1));
    });
    let slow = connection.begin(request::VmStop(vm("a")), None).unwrap();
    assert!(connection.progress(&slow).is_none());
    connection.call(request::HostInfo, None).unwrap();
    assert_eq!(connection.progress(&slow).unwrap().done, 3);
    connection.wait(slow).unwrap();
    daemon.join().unwrap();
}

fn an_answer_that_does_not_come_is_not_waited_for_for_ever(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), Scripted::until_gone);
    let began = Instant::now();
    let error = connection.call(request::HostInfo, Some(Duration::from_millis(1))).unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(4));
    connection.call(request::Ping, None).unwrap();
    drop(connection);
    daemon.join().unwrap();
}

fn a_request_that_fits_into_no_packet_is_refused_here(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), Scripted::until_gone);
    let value = VmCell::Items(List::clipped((0..64).map(|_| Text::clipped(&"x".repeat(1024)))));
    let filter = VmFilter { field: vm_field::NAME, comparison: filter_comparison::EQUAL, value };
    let error = connection.list_vms(&[vm_field::NAME], &vec![filter; 8], None).unwrap_err();
    assert!(matches!(error, Error::Request(_)), "{error:?}");
    connection.call(request::Ping, None).unwrap();
    drop(connection);
    daemon.join().unwrap();
}

fn a_silent_daemon_is_asked_and_then_given_up(over: Over) {
    let options = Options { keepalive: Duration::from_millis(300), ..Options::default() };
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (mut connection, daemon) = connected(over, 1, options, move |mut daemon| {
        let _unanswered = daemon.call(); // HELLO was answered with it; from here on nothing is read
        let _ = released.recv();
    });
    let error = connection.call(request::HostInfo, None).unwrap_err();
    assert!(matches!(error, Error::Lost(Lost::Silent(_))), "{error:?}");
    drop(release);
    daemon.join().unwrap();
}

fn a_daemon_that_answers_ping_may_take_its_time(over: Over) {
    let options = Options { keepalive: Duration::from_millis(500), ..Options::default() };
    let (mut connection, daemon) = connected(over, 1, options, |mut daemon| {
        let (ticket, _) = daemon.call();
        let until = Instant::now() + Duration::from_millis(1800);
        daemon.only_pings(until);
        daemon.answer(ticket, &host(9));
    });
    assert_eq!(connection.call(request::HostInfo, None).unwrap().cpus, 9);
    daemon.join().unwrap();
}

#[test]
fn what_is_no_daemon_is_recognised() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    let error = Connection::from_socket(ours, Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Protocol(why) if why.contains("SSH")), "{error:?}");
}

fn the_last_words_of_a_daemon_are_heard_even_when_it_no_longer_listens(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.answer(ticket, &host(1));
        daemon.session.close(Failure::new(code::DENIED, "shown out"));
        daemon.flush();
    });
    connection.call(request::HostInfo, None).unwrap();
    daemon.join().unwrap();
    let error = connection.call(request::VmStop(vm("a")), None).unwrap_err();
    assert!(error.is(code::DENIED) && error.ends_connection(), "{error:?}");
}

fn events_that_come_while_a_call_is_waited_for_are_kept_in_order(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        assert_eq!(daemon.subscribed(4), None);
        daemon.event(4, 10);
        let (ticket, _) = daemon.call();
        daemon.event(5, 10);
        daemon.answer(ticket, &host(1));
        daemon.unasked(&ServerData::Gap(Gap { epoch: EPOCH, first: 6, last: 8 }));
        daemon.event(9, 10);
        daemon.until_gone();
    });
    connection.subscribe(Subscription::default()).unwrap();
    connection.call(request::HostInfo, None).unwrap();
    assert_eq!(sequence(connection.next_notice(None).unwrap()), 4);
    assert_eq!(sequence(connection.next_notice(None).unwrap()), 5);
    assert!(matches!(connection.next_notice(None).unwrap(), Some(Notice::Gap(Gap { first: 6, last: 8, .. }))));
    assert_eq!(sequence(connection.next_notice(None).unwrap()), 9);
    assert_eq!(connection.next_notice(Some(Duration::from_millis(1))).unwrap(), None);
    drop(connection);
    daemon.join().unwrap();
}

fn too_many_events_end_the_subscription_until_they_were_fetched(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        daemon.subscribed(1);
        let (ticket, _) = daemon.call();
        // Far more than this client queues, and the answer stands behind them all.
        for sequence in 1..=100 {
            daemon.event(sequence, 16384);
        }
        let Some(Came::Unsubscribed) = daemon.next() else { panic!("the subscription was kept") };
        daemon.answer(ticket, &host(3));
        assert_eq!(daemon.subscribed(101), Some(cursor(100)));
        daemon.event(101, 1);
        daemon.until_gone();
    });
    connection.subscribe(Subscription::default()).unwrap();
    assert_eq!(connection.call(request::HostInfo, None).unwrap().cpus, 3);
    for expected in 1..=101 {
        assert_eq!(sequence(connection.next_notice(None).unwrap()), expected);
    }
    drop(connection);
    daemon.join().unwrap();
}

fn a_daemon_that_floods_with_events_is_given_up(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        daemon.subscribed(1);
        let _unanswered = daemon.call();
        let refused = (1..1000).find(|&sequence| !daemon.offer_event(sequence, 16384));
        assert!(refused.is_some(), "all were taken");
    });
    connection.subscribe(Subscription::default()).unwrap();
    let error = connection.call(request::VmStop(vm("a")), None).unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    drop(connection);
    daemon.join().unwrap();
}

fn a_console_is_bounded_by_what_was_fetched(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        let stream = daemon.session.stream_open().unwrap();
        let opened = ConsoleOpenAnswer { stream, offset: 100, writer: Text::clipped("") };
        daemon.answer(ticket, &ServerData::ConsoleOpen(opened));
        daemon.session.stream_send(stream, 0, 100, &[b'a'; 32768]).unwrap();
        daemon.session.stream_send(stream, 0, 40_000, &[b'b'; 32768]).unwrap();
        daemon.flush();
        assert_eq!(daemon.session.stream_room(stream), 0);
        let (question, _) = daemon.call();
        daemon.answer(question, &host(1));
        let Some(Came::Room) = daemon.next() else { panic!("no credit came") };
        assert!(daemon.session.stream_room(stream) > 0);
        let Some(Came::Data { offset: 0, data }) = daemon.next_but_room() else { panic!("no data came") };
        assert_eq!(data, b"ls\n");
        daemon.session.stream_taken(stream, 3);
        daemon.session.stream_end(stream, Some(Failure::new(code::BUSY, "taken over").detail("holder", "uid 8")));
        daemon.flush();
        daemon.until_gone();
    });
    let call = ConsoleOpenCall { vm: Text::clipped("a"), mode: console_mode::WRITE, history_bytes: 0 };
    let mut console = connection.open_console(call, None).unwrap();
    assert_eq!(console.offset(), 100);
    // Another call is answered although nobody has fetched the console's data.
    connection.call(request::HostInfo, None).unwrap();
    let first = connection.read_console(&mut console, None).unwrap();
    assert_eq!(first, Some(Received::Data { lost: 0, data: vec![b'a'; 32768] }));
    let second = connection.read_console(&mut console, None).unwrap();
    assert_eq!(second, Some(Received::Data { lost: 40_000 - 32_868, data: vec![b'b'; 32768] }));
    assert_eq!(connection.write_console(&mut console, b"ls\n").unwrap(), 3);
    let Some(Received::End(Some(why))) = connection.read_console(&mut console, None).unwrap() else { panic!() };
    assert_eq!(why.fact("holder"), Some("uid 8"));
    assert_eq!(connection.write_console(&mut console, b"more").unwrap(), 0);
    drop(connection);
    daemon.join().unwrap();
}

fn waiting_beside_something_else_tells_which_of_them_it_was(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        daemon.subscribed(1);
        daemon.event(1, 1);
        daemon.until_gone();
    });
    connection.subscribe(Subscription::default()).unwrap();
    let (terminal, mut keyboard) = UnixStream::pair().unwrap();
    while connection.events_after() == Some(cursor(0)) {
        assert!(!connection.wait_beside(terminal.as_fd(), None).unwrap());
    }
    keyboard.write_all(b"x").unwrap();
    assert!(connection.wait_beside(terminal.as_fd(), None).unwrap());
    drop(connection);
    daemon.join().unwrap();
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
        second.answer(ticket, &host(2));
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

fn a_link_that_cannot_be_made_anew_in_time_is_lost_for_good(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_millis(200), ..Options::default() };
    let daemon = std::thread::spawn(move || assert!(Scripted::greet_and_go(listener.accept())));
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    daemon.join().unwrap();
    let began = Instant::now();
    let error = connection.call(request::HostInfo, None).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(connection.call(request::HostInfo, None).is_err());
}

fn a_daemon_that_keeps_going_away_is_not_asked_without_pause(over: Over) {
    let Place { _directory, listener, uri } = place(over);
    let options = Options { reconnect: Duration::from_millis(500), ..Options::default() };
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
    let error = connection.call(request::HostInfo, Some(Duration::from_secs(8))).unwrap_err();
    assert!(error.is(code::OVERLOADED), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    daemon.join().unwrap();
}

fn an_older_daemon_is_asked_for_names_and_then_for_each(over: Over) {
    let (mut connection, daemon) = connected(over, 0, Options::default(), |mut daemon| {
        for (after, names, next) in [("", vec!["a", "b"], "b"), ("b", vec!["c"], "")] {
            let (ticket, data) = daemon.call();
            let ClientData::VmNames(call) = data else { panic!("{data:?}") };
            assert_eq!(call.after, after);
            daemon.answer(
                ticket,
                &ServerData::VmNames(VmNamesAnswer {
                    cursor: cursor(u64::try_from(names.len()).unwrap()),
                    names: List::clipped(names.into_iter().map(Text::clipped)),
                    next: Text::clipped(next),
                }),
            );
        }
        // All are under way at once.
        let tickets: Vec<_> = (0..3).map(|_| daemon.call().0).collect();
        let answers = [shown("a", 1), ServerData::Failure(Failure::new(code::NOT_FOUND, "gone")), shown("c", 3)];
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            match answer {
                ServerData::Failure(failure) => daemon.fail(ticket, failure),
                answer => daemon.answer(ticket, &answer),
            }
        }
        daemon.until_gone();
    });
    let filter =
        VmFilter { field: vm_field::MEMORY_BYTES, comparison: filter_comparison::AT_LEAST, value: VmCell::Number(2) };
    let fields = [vm_field::NAME, vm_field::MEMORY_BYTES];
    let listing = connection.list_vms(&fields, &[filter], None).unwrap();
    assert_eq!(listing.rows, [vec![VmCell::Text(Text::clipped("c")), VmCell::Number(3)]]);
    assert_eq!(listing.cursor, cursor(2), "events behind the first page are not missed");
    drop(connection);
    daemon.join().unwrap();
}
