//! Agents of every sort: sound, slow, stale, older than the conversation, and hostile.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Numbers that count from here, so that a test knows what an agent has to say.
const FIRST: u64 = NUMBER_MIN + 100;

/// One end of a channel, with a clock.
struct Bench {
    lane: Lane,
    now: Instant,
    drawn: u64,
}

impl Bench {
    fn new() -> Self {
        Self { lane: Lane::new(), now: Instant::now(), drawn: 0 }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Lane, Instant, Draw<'_>) -> T) -> T {
        let drawn = &mut self.drawn;
        work(&mut self.lane, self.now, &mut || {
            let number = FIRST + *drawn;
            *drawn += 1;
            number << 2
        })
    }

    fn ask(&mut self) -> u64 {
        self.with(Lane::ask)
    }

    fn says(&mut self, bytes: &[u8]) {
        self.with(|lane, now, draw| lane.handle_bytes(bytes, now, draw));
    }

    fn sent(&mut self) -> String {
        self.lane.take_outgoing().escape_ascii().to_string().replace("\\\"", "'")
    }

    fn answers(&mut self) -> Vec<Answer> {
        std::iter::from_fn(|| self.lane.poll_answer()).collect()
    }

    /// Brings the lane in step by a ping that is answered.
    fn in_step() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.ask(), 1);
        assert_eq!(bench.sent(), sync(0));
        bench.says(&synced(0));
        assert_eq!(bench.sent(), ping(1));
        bench.says(&pong(1));
        assert_eq!(bench.answers(), [Answer { request: 1, result: Ok(()) }]);
        bench
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.with(Lane::handle_timeout);
    }
}

fn sync(nth: u64) -> String {
    format!("\\xff{{'execute':'guest-sync-delimited','arguments':{{'id':{}}}}}\\n", FIRST + nth)
}

fn ping(nth: u64) -> String {
    format!("{{'execute':'guest-ping','id':{}}}\\n", FIRST + nth)
}

fn synced(nth: u64) -> Vec<u8> {
    let error = br#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\uFFFD'"}}"#;
    [&error[..], b"\n\xff", format!("{{\"return\": {}}}\n", FIRST + nth).as_bytes()].concat()
}

fn pong(nth: u64) -> Vec<u8> {
    format!("{{\"return\": {{}}, \"id\": {}}}\n", FIRST + nth).into_bytes()
}

fn done(request: u64) -> Answer {
    Answer { request, result: Ok(()) }
}

#[test]
fn a_ping_in_step_is_one_line_each_way_and_the_first_one_comes_behind_a_number() {
    let mut bench = Bench::in_step();
    assert_eq!((bench.ask(), bench.sent()), (2, ping(2)));
    bench.says(&pong(2));
    assert_eq!(bench.answers(), [done(2)]);
    assert_eq!(bench.lane.poll_timeout(), None);
}

#[test]
fn what_was_there_before_the_number_is_thrown_away() {
    let mut bench = Bench::new();
    bench.ask();
    bench.says(b"b64\": \"AAAA\"}}\n{\"return\": 5}\n\xff{\"return\": 5}\n\xff{\"ret\xff");
    bench.says(&pong(1));
    bench.says(&[b'x'; 1000]);
    bench.says(&synced(0));
    assert_eq!(bench.sent(), sync(0) + &ping(1));
    assert_eq!(bench.answers(), []);
    bench.says(&pong(1));
    assert_eq!(bench.answers(), [done(1)]);
}

#[test]
fn the_agents_own_error_is_an_answer_and_the_lane_stays_in_step() {
    let mut bench = Bench::in_step();
    bench.ask();
    let error = format!(
        r#"{{"error": {{"class": "CommandNotFound", "desc": "guest-ping has been disabled"}}, "id": {}}}"#,
        FIRST + 2
    );
    bench.says(error.as_bytes());
    bench.says(b"\r\n");
    let refused =
        AgentError::Refused { class: "CommandNotFound".to_owned(), desc: "guest-ping has been disabled".to_owned() };
    assert_eq!(bench.answers(), [Answer { request: 2, result: Err(refused) }]);
    bench.sent();
    bench.ask();
    assert_eq!(bench.sent(), ping(3));
}

#[test]
fn whoever_asks_while_a_request_is_under_way_shares_the_next_one() {
    let mut bench = Bench::in_step();
    assert_eq!((bench.ask(), bench.ask(), bench.ask()), (2, 3, 3));
    assert_eq!(bench.sent(), ping(2));
    bench.says(&pong(2));
    assert_eq!((bench.answers(), bench.sent()), (vec![done(2)], ping(3)));
    bench.says(&pong(3));
    assert_eq!((bench.answers(), bench.sent()), (vec![done(3)], String::new()));
    // Before it is sent, all share it.
    bench.lane.fall_out();
    assert_eq!((bench.ask(), bench.ask()), (4, 4));
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_a_later_request() {
    let mut bench = Bench::in_step();
    bench.ask();
    bench.sent();
    bench.pass(PATIENCE);
    assert_eq!(bench.sent(), sync(3));
    bench.says(&pong(2));
    assert_eq!((bench.answers(), bench.sent()), (vec![], String::new()));
    bench.says(&synced(3));
    assert_eq!(bench.sent(), ping(4));
    bench.says(&pong(2));
    assert_eq!(bench.answers(), [], "it is not believed, and asked again behind another number");
    assert_eq!(bench.sent(), sync(5));
}

#[test]
fn what_is_no_reply_is_asked_again_once_behind_a_number() {
    let wrong: [(&[u8], &str); 9] = [
        (b"{\"return\": {}}\n", "a reply to something else"),
        (b"{\"return\": {}, \"id\": \"1\"}\n", "what is no reply"),
        (b"[{}, null, 1]\n", "what is no JSON object"),
        (b"{\"return\": {}\n", "what is no reply"),
        (b"\n", "what is no JSON object"),
        (b"\xff{\"return\": 1}\n", "what is no JSON object"),
        (b"{\"QMP\": {}, \"id\": ID}\n", "what is no reply"),
        (b"{\"return\": {}, \"error\": {\"class\": \"a\", \"desc\": \"b\"}, \"id\": ID}\n", "what is no reply"),
        (&[b' '; LINE_BYTES_MAX + 1], "a line that is too long"),
    ];
    for (line, why) in wrong {
        let mut bench = Bench::in_step();
        bench.ask();
        bench.sent();
        let says = |bench: &mut Bench, id: u64| {
            let text = line.iter().map(|byte| char::from(*byte)).collect::<String>().replace("ID", &id.to_string());
            bench.says(&text.chars().map(|sign| u8::try_from(u32::from(sign)).unwrap()).collect::<Vec<u8>>());
        };
        says(&mut bench, FIRST + 2);
        assert_eq!((bench.answers(), bench.sent()), (vec![], sync(3)), "{why}");
        bench.says(&synced(3));
        assert_eq!(bench.sent(), ping(4));
        says(&mut bench, FIRST + 4);
        assert_eq!(bench.answers(), [Answer { request: 3, result: Err(AgentError::Nonsense(why)) }]);
        // It was for nobody: the lane is out of step, and silent until somebody asks.
        assert_eq!((bench.sent(), bench.lane.poll_timeout()), (String::new(), None));
        bench.ask();
        assert_eq!(bench.sent(), sync(5));
    }
}

#[test]
fn bytes_that_nobody_asked_for_bring_the_lane_out_of_step() {
    let mut bench = Bench::in_step();
    bench.says(b"x");
    bench.ask();
    assert_eq!(bench.sent(), sync(2));
}

#[test]
fn silence_is_met_with_another_number_each_time_after_twice_the_time() {
    let mut bench = Bench::new();
    bench.ask();
    for (nth, seconds) in [(0, 5), (1, 10), (2, 20), (3, 40), (4, 80), (5, 80)] {
        assert_eq!(bench.sent(), sync(nth));
        assert_eq!(bench.lane.poll_timeout(), Some(bench.now + Duration::from_secs(seconds)));
        bench.pass(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert_eq!(bench.sent(), "");
        bench.pass(Duration::from_millis(1));
    }
    // Then it wakes up, and answers all of them.
    (0..=6).for_each(|nth| bench.says(&synced(nth)));
    assert_eq!(bench.sent(), sync(6) + &ping(7));
    assert_eq!(bench.lane.poll_timeout(), Some(bench.now + PATIENCE_MAX));
    bench.says(&pong(7));
    bench.ask();
    assert_eq!(bench.lane.poll_timeout(), Some(bench.now + PATIENCE));
}

#[test]
fn an_agent_that_takes_its_time_for_each_answer_comes_to_give_the_one_that_is_waited_for() {
    let slow = Duration::from_secs(7);
    let mut bench = Bench::new();
    bench.ask();
    assert_eq!(bench.sent(), sync(0));
    bench.pass(PATIENCE);
    assert_eq!(bench.sent(), sync(1));
    bench.pass(slow - PATIENCE);
    bench.says(&synced(0));
    bench.pass(slow);
    bench.says(&synced(1));
    assert_eq!(bench.sent(), ping(2));
    bench.pass(slow);
    bench.says(&pong(2));
    assert_eq!((bench.answers(), bench.sent()), (vec![done(1)], String::new()));
}

#[test]
fn whoever_asks_again_and_again_has_no_more_said_than_one_who_waits() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        bench.ask();
        bench.lane.nobody_waits();
        assert_eq!(bench.lane.poll_timeout(), None);
        bench.now += Duration::from_millis(100);
        bench.with(Lane::handle_timeout);
    }
    assert_eq!(bench.sent(), sync(0));
    bench.ask();
    assert_eq!(bench.sent(), sync(1), "five seconds are over");
    bench.lane.nobody_waits();
    bench.says(&synced(1));
    assert_eq!(bench.sent(), "", "nobody wants to know any more");
    bench.ask();
    assert_eq!(bench.sent(), ping(2));
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_keeps_the_lane_in_step() {
    let mut bench = Bench::in_step();
    bench.ask();
    bench.lane.nobody_waits();
    assert_eq!((bench.ask(), bench.sent()), (3, ping(2)), "the first one's answer proves nothing to the second");
    bench.says(&pong(2));
    assert_eq!((bench.answers(), bench.sent()), (vec![done(2)], ping(3)));
    bench.lane.nobody_waits();
    bench.says(&pong(3));
    assert_eq!((bench.answers(), bench.ask(), bench.sent()), (vec![], 4, ping(4)));
}

#[test]
fn a_channel_that_is_opened_is_begun_anew_for_those_who_wait() {
    let mut bench = Bench::in_step();
    assert_eq!(bench.ask(), 2);
    bench.lane.fall_out();
    assert_eq!((bench.sent(), bench.lane.poll_timeout()), (ping(2), None));
    bench.says(&pong(2));
    assert_eq!(bench.answers(), []);
    bench.with(Lane::begin_anew);
    bench.says(&synced(3));
    assert_eq!(bench.sent(), sync(3) + &ping(4));
    bench.says(&pong(4));
    assert_eq!(bench.answers(), [done(3)], "a later request answers earlier questions too");
    bench.with(Lane::begin_anew);
    assert_eq!(bench.sent(), "", "nobody waits");
}

#[test]
fn a_line_is_parsed_only_where_it_has_the_number_that_was_drawn() {
    let mut bench = Bench::new();
    bench.ask();
    for line in ["{\"return\": 1}", "{}", "", "4611686018427388003", "46116860184273880041", "{\"return\": -1e99}"] {
        assert!(!has_digits(line.as_bytes(), FIRST), "{line}");
    }
    for number in [FIRST, NUMBER_MIN, u64::MAX >> 1] {
        assert_eq!(number.to_string().len(), NUMBER_DIGITS);
        let line = format!("{{\"return\": {number}}}");
        assert!(has_digits(line.as_bytes(), number) && repeats(line.as_bytes(), number));
        assert!(!repeats(&line.as_bytes()[1..], number), "the digits are not enough");
    }
    // A flood of lines, whole or cut, has no memory got for it but for the first that is cut.
    for (first, flood) in [("", "\u{ff}{}\n"), ("\u{ff}{", "}\n\u{ff}{")] {
        let bytes = |text: &str| text.chars().map(|sign| u8::try_from(u32::from(sign)).unwrap()).collect::<Vec<u8>>();
        bench.says(&bytes(first));
        let before = (bench.lane.line.as_ptr(), bench.lane.line.capacity());
        for _ in 0..1000 {
            bench.says(&bytes(flood));
            assert_eq!((bench.lane.line.as_ptr(), bench.lane.line.capacity()), before);
        }
    }
    bench.says(&synced(0));
    assert_eq!(bench.sent(), sync(0) + &ping(1));
}

#[test]
fn endless_nonsense_is_held_to_a_line() {
    let deep = "[".repeat(LINE_BYTES_MAX - 20);
    let deep = format!("{{\"return\":{deep}\n").into_bytes();
    for piece in [vec![b'x'; 8192], vec![MARK; 8192], vec![b'{'; 8192], b"\xff{".repeat(4096), deep] {
        let mut bench = Bench::new();
        bench.ask();
        bench.says(b"\xff{");
        for round in 0..200 {
            if round == 100 {
                bench.says(&synced(bench.drawn - 1));
            }
            bench.says(&piece);
            assert!(bench.lane.line.capacity() <= 2 * LINE_BYTES_MAX);
        }
        // The answer to the first sync, its ping, and once more.
        assert!(bench.drawn <= 3 && bench.lane.take_outgoing().len() < 512 && bench.answers().len() <= 1);
    }
}

/// What an agent might say, the numbers of the next few things that it is asked among it.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => (0..6u64).prop_map(synced),
        4 => (0..6u64).prop_map(pong),
        1 => Just(b"\xff".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"{\"return\": ".to_vec()),
        1 => Just(b"{\"error\": {\"class\": \"a\", \"desc\": \"b\"}, \"id\": ".to_vec()),
        1 => Just(vec![b'z'; LINE_BYTES_MAX]),
        2 => vec(any::<u8>(), 0..40),
    ];
    vec(word, 0..12).prop_map(|words| words.concat())
}

fn outcome(bench: &mut Bench) -> (Vec<Answer>, String, String) {
    let (answers, sent) = (bench.answers(), bench.sent());
    (answers, sent, format!("{:?}", bench.lane))
}

proptest! {
    #[test]
    fn any_cutting_of_what_is_said_comes_to_the_same(said in said(), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
        let (mut whole, mut cut) = (Bench::new(), Bench::new());
        cut.now = whole.now;
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(said.len() + 1)).collect();
        at.sort_unstable();
        at.push(said.len());
        for bench in [&mut whole, &mut cut] {
            bench.ask();
            bench.ask();
        }
        whole.says(&said);
        let mut from = 0;
        for to in at {
            cut.says(&said[from..to]);
            from = to;
        }
        prop_assert_eq!(outcome(&mut whole), outcome(&mut cut));
    }

    #[test]
    fn any_garbage_before_the_number_is_survived(garbage in vec(any::<u8>(), 0..2000), stale in said()) {
        let mut bench = Bench::new();
        // So that nothing of it has the right number.
        bench.drawn = 50;
        bench.ask();
        bench.says(&garbage);
        bench.says(&stale);
        bench.says(&synced(50));
        bench.says(&pong(51));
        prop_assert_eq!(bench.answers(), [done(1)]);
        prop_assert_eq!(bench.sent(), sync(50) + &ping(51));
    }

    #[test]
    fn each_request_has_one_answer_at_most_and_never_one_for_nobody(
        steps in vec((0..9u8, said()), 0..40),
    ) {
        let mut bench = Bench::new();
        // What somebody who waits was told, and the requests that were answered.
        let (mut waiting, mut answered): (Vec<u64>, Vec<u64>) = Default::default();
        for (step, said) in steps {
            match step {
                0..=1 => waiting.push(bench.ask()),
                2 => {
                    let drawn = bench.drawn;
                    if drawn > 0 {
                        bench.says(&synced(drawn - 1));
                    }
                }
                3 => {
                    let drawn = bench.drawn;
                    if drawn > 0 {
                        bench.says(&pong(drawn - 1));
                    }
                }
                4 => bench.pass(Duration::from_secs(7)),
                5 => bench.with(Lane::begin_anew),
                6 => {
                    bench.lane.nobody_waits();
                    waiting.clear();
                }
                7 => bench.lane.fall_out(),
                _ => bench.says(&said),
            }
            for answer in bench.answers() {
                prop_assert!(answered.last().is_none_or(|last| *last < answer.request));
                answered.push(answer.request);
                waiting.retain(|wanted| *wanted > answer.request);
            }
            prop_assert_eq!(bench.lane.waits, !waiting.is_empty());
            prop_assert!(!bench.lane.more || bench.lane.waits);
            prop_assert!(bench.lane.state != State::InStep || !bench.lane.more);
            prop_assert!(waiting.iter().all(|wanted| *wanted <= bench.lane.sent + 1));
            prop_assert!(bench.lane.outgoing.len() < 200 * usize::try_from(bench.drawn).unwrap() + 1);
        }
    }
}
