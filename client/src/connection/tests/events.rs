//! Events, and more of them than anybody fetches.

use super::*;

over_every_transport! {
    events_that_come_while_a_call_is_waited_for_are_kept_in_order
    too_many_events_end_the_subscription_until_they_were_fetched
    a_daemon_that_floods_with_events_is_given_up
}

fn events_that_come_while_a_call_is_waited_for_are_kept_in_order(over: Over) {
    let (mut connection, daemon) = connected(over, 1, Options::default(), |mut daemon| {
        assert_eq!(daemon.subscribed(4), None);
        daemon.event(4, 10);
        let (ticket, _) = daemon.call();
        daemon.event(5, 10);
        daemon.answer(ticket, &host_info(1));
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
        daemon.answer(ticket, &host_info(3));
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
