//! Consoles whose reader was away for too long.

use super::*;

#[test]
fn a_loss_at_the_very_end_of_a_console_is_a_jump_to_that_end() {
    let mut world = World::new();
    let (mut slow, mut other) = (world.visitor(), world.visitor());
    world.define(&mut slow, &simple("again", "console_bytes = 200000")).unwrap();
    world.ask(&mut slow, &start("again")).unwrap();
    let open = ConsoleOpenCall { vm: Text::clipped("again"), mode: console_mode::READ, history_bytes: 0 };
    world.ask(&mut slow, &ClientData::ConsoleOpen(open)).unwrap();
    // While the reader is away the guest goes, and another says more than is kept.
    world.pass(&mut other, Duration::from_millis(20));
    let said = |world: &World| world.dispatch.vms.find("again").unwrap().console.end();
    world.ask(&mut other, &ClientData::VmStop(vm("again"))).unwrap();
    let end = said(&world);
    world.ask(&mut other, &start("again")).unwrap();
    world.pass(&mut other, Duration::from_secs(10));
    assert!(said(&world) > end + 150_000, "{} behind {end}", said(&world) - end);
    world.exchange(&mut slow);
    assert!(slow.console.len() < usize::try_from(end).unwrap(), "nothing was lost");
    assert_eq!((slow.console_at, slow.console_jumps), (end, 1));
    assert!(matches!(slow.over.as_slice(), [(1, None)]), "{:?}", slow.over);
}
