//! Calls, answers, and daemons that do not behave.

use super::*;

over_every_transport! {
    agrees_on_the_lesser_minor
    answers_in_any_order_reach_their_calls
    the_time_of_an_answer_is_that_of_its_coming
    a_failure_is_an_error_and_the_connection_lives_on
    a_dropped_call_leaves_nothing_behind
    a_call_too_many_waits_for_an_answer_but_a_cancel_does_not
    both_sides_may_write_much_at_once
    what_found_no_room_in_the_socket_is_written_as_soon_as_there_is_some
    progress_is_kept_as_the_latest
    an_answer_that_does_not_come_is_not_waited_for_for_ever
    a_request_that_fits_into_no_packet_is_refused_here
    a_silent_daemon_is_asked_and_then_given_up
    a_daemon_that_answers_ping_may_take_its_time
    the_last_words_of_a_daemon_are_heard_even_when_it_no_longer_listens
    an_older_daemon_is_asked_for_names_and_then_for_each
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
        daemon.answer(first, &host_info(1));
    });
    let first = connection.begin(request::HostInfo, None).unwrap();
    let second = connection.begin(request::VmStop(vm("a")), None).unwrap();
    assert_eq!(connection.wait(first).unwrap().cpus, 1);
    assert_eq!(connection.wait(second).unwrap().operation, 2);
    daemon.join().unwrap();
}

/// However late somebody asks for it.
fn the_time_of_an_answer_is_that_of_its_coming(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (first, _) = daemon.call();
        let (second, _) = daemon.call();
        daemon.answer(second, &done(2));
        daemon.answer(first, &host_info(1));
        daemon.until_gone();
    });
    let began = Instant::now();
    let first = connection.begin(request::HostInfo, None).unwrap();
    let second = connection.begin(request::VmStop(vm("a")), None).unwrap();
    let (_, first_time) = connection.wait_timed(first).unwrap();
    let both_came = began.elapsed();
    // Others are asked and answered meanwhile, until the second has certainly been there for longer than it took.
    while began.elapsed() < 2 * both_came {
        connection.call(request::Ping, None).unwrap();
    }
    let (_, second_time) = connection.wait_timed(second).unwrap();
    assert!(first_time <= both_came && second_time <= both_came, "{first_time:?} {second_time:?} {both_came:?}");
    assert!(second_time > Duration::ZERO);
    drop(connection);
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
            daemon.answer(ticket, &host_info(1));
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

fn a_call_too_many_waits_for_an_answer_but_a_cancel_does_not(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let mut tickets: Vec<_> = (0..256).map(|_| daemon.call().0).collect();
        let Some(Came::Cancelled(serial)) = daemon.next() else { panic!("no CANCEL") };
        let at = tickets.iter().position(|ticket| ticket.serial() == serial).unwrap();
        daemon.fail(tickets.remove(at), Failure::new(code::CANCELLED, "as asked"));
        tickets.push(daemon.call().0);
        daemon.only_pings(Instant::now() + Duration::from_millis(100));
        for ticket in tickets {
            daemon.answer(ticket, &host_info(1));
        }
        let (ticket, _) = daemon.call();
        daemon.answer(ticket, &host_info(1));
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
        daemon.answer(question, &host_info(1));
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
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
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
    let options = Options { keepalive: Duration::from_secs(2), ..Options::default() };
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
    let options = Options { keepalive: Duration::from_secs(4), ..Options::default() };
    let (mut connection, daemon) = connected(over, 1, options, |mut daemon| {
        let (ticket, _) = daemon.call();
        let until = Instant::now() + Duration::from_secs(11);
        daemon.only_pings(until);
        daemon.answer(ticket, &host_info(9));
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
        daemon.answer(ticket, &host_info(1));
        daemon.session.close(Failure::new(code::DENIED, "shown out"));
        daemon.flush();
    });
    connection.call(request::HostInfo, None).unwrap();
    daemon.join().unwrap();
    let error = connection.call(request::VmStop(vm("a")), None).unwrap_err();
    assert!(error.is(code::DENIED) && error.ends_connection(), "{error:?}");
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
