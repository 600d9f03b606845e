//! Consoles.

use super::*;

over_every_transport! {
    a_console_that_nobody_waits_for_is_closed
    a_console_is_bounded_by_what_was_fetched
    waiting_beside_something_else_tells_which_of_them_it_was
}

fn a_console_that_nobody_waits_for_is_closed(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        let (question, _) = daemon.call();
        let stream = daemon.session.stream_open().unwrap();
        let opened = ConsoleOpenAnswer { stream, offset: 0, writer: Text::clipped("") };
        daemon.answer(ticket, &ServerData::ConsoleOpen(opened));
        daemon.answer(question, &host_info(1));
        let came = daemon.next();
        assert!(matches!(came, Some(Came::Over)), "{came:?}");
    });
    let call = ConsoleOpenCall { vm: Text::clipped("a"), mode: console_mode::READ, history_bytes: 0 };
    drop(connection.begin(request::ConsoleOpen(call), None).unwrap());
    connection.call(request::HostInfo, None).unwrap();
    daemon.join().unwrap();
}

fn a_console_is_bounded_by_what_was_fetched(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        let (ticket, _) = daemon.call();
        let stream = daemon.session.stream_open().unwrap();
        let opened = ConsoleOpenAnswer { stream, offset: 100, writer: Text::clipped("") };
        daemon.answer(ticket, &ServerData::ConsoleOpen(opened));
        let Some(Came::Room) = daemon.next() else { panic!("the window is no wider than at first") };
        daemon.session.stream_send(stream, 0, 100, &[b'a'; 32768]).unwrap();
        for piece in 0..31 {
            daemon.session.stream_send(stream, 0, 40_000 + piece * 32768, &[b'b'; 32768]).unwrap();
            daemon.flush();
        }
        assert_eq!(daemon.session.stream_room(stream), 0, "a mebibyte and no more");
        let (question, _) = daemon.call();
        daemon.answer(question, &host_info(1));
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
    for _ in 0..30 {
        let more = connection.read_console(&mut console, None).unwrap();
        assert_eq!(more, Some(Received::Data { lost: 0, data: vec![b'b'; 32768] }));
    }
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
