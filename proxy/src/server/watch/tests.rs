use super::*;

const DEADLINES: Deadlines = Deadlines {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
};

fn look(watch: &Watch, seconds: u64) -> Order {
    watch.look(Duration::from_secs(seconds), &DEADLINES);
    watch.order()
}

#[test]
fn a_silent_connection_is_cut_after_the_head_s_time() {
    let watch = Watch::default();
    assert_eq!(look(&watch, 5), Order::Stay);
    assert_eq!(look(&watch, 4), Order::Stay);
    assert_eq!(look(&watch, 1), Order::Cut);
}

#[test]
fn bytes_do_not_extend_the_head_s_time() {
    let watch = Watch::default();
    for _ in 0..9 {
        watch.note_read();
        watch.note_written();
        assert_eq!(look(&watch, 1), Order::Stay);
    }
    assert_eq!(look(&watch, 1), Order::Cut);
}

#[test]
fn an_idle_connection_leaves_and_is_cut_if_it_does_not() {
    let watch = Watch::default();
    watch.begin(false);
    watch.finish(false, true);
    assert_eq!(
        look(&watch, 100),
        Order::Stay,
        "the first look only sees that it is idle"
    );
    assert_eq!(look(&watch, 59), Order::Stay);
    assert_eq!(look(&watch, 1), Order::Leave);
    assert_eq!(look(&watch, 1), Order::Leave, "a phase of its own");
    assert_eq!(look(&watch, 10), Order::Cut);
}

#[test]
fn a_second_head_has_its_own_time() {
    let watch = Watch::default();
    watch.begin(false);
    watch.finish(false, true);
    look(&watch, 1);
    look(&watch, 50);
    watch.note_read();
    assert_eq!(look(&watch, 9), Order::Stay);
    assert_eq!(look(&watch, 10), Order::Cut);
}

#[test]
fn a_stop_waits_a_moment_for_a_first_request() {
    let watch = Watch::default();
    watch.give(Order::Leave);
    let moment = Duration::from_millis(125);
    watch.look(moment, &DEADLINES);
    assert_eq!(watch.order(), Order::Leave);
    watch.look(moment, &DEADLINES);
    assert_eq!(watch.order(), Order::Cut);

    let watch = Watch::default();
    watch.open(false);
    watch.give(Order::Leave);
    assert_eq!(look(&watch, 9), Order::Leave, "it has begun its request");
}

#[test]
fn an_answer_may_take_its_time_but_its_reader_may_not() {
    let watch = Watch::default();
    watch.begin(false);
    look(&watch, 1);
    assert_eq!(look(&watch, 100_000), Order::Stay);
    watch.note_blocked();
    look(&watch, 1);
    assert_eq!(look(&watch, 59), Order::Stay);
    watch.note_written();
    watch.note_blocked();
    assert_eq!(look(&watch, 59), Order::Stay, "bytes went");
    assert_eq!(look(&watch, 60), Order::Cut);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let watch = Watch::default();
    watch.begin(false);
    assert!(watch.hold_end());
    look(&watch, 1);
    watch.note_written();
    assert_eq!(look(&watch, 10), Order::Stay);
    assert_eq!(look(&watch, 10), Order::Cut);
}

#[test]
fn an_end_within_content_is_soon_taken_for_what_it_is() {
    let watch = Watch::default();
    watch.begin(true);
    assert!(watch.hold_end());
    look(&watch, 1);
    assert_eq!(look(&watch, 1), Order::Cut);

    let watch = Watch::default();
    watch.begin(true);
    assert!(watch.hold_end());
    look(&watch, 1);
    watch.received(true);
    assert_eq!(look(&watch, 1), Order::Stay);
    assert_eq!(look(&watch, 9), Order::Stay);
    watch.finish(false, true);
    assert!(!watch.hold_end(), "no answer is owed any more");
}

#[test]
fn orders_are_only_raised() {
    let watch = Watch::default();
    watch.give(Order::Cut);
    watch.give(Order::Leave);
    assert_eq!(watch.order(), Order::Cut);
}

#[test]
fn streams_are_told_from_the_rest() {
    let watch = Watch::default();
    watch.begin(false);
    assert!(!watch.has_only_streams());
    watch.is_stream();
    assert!(watch.has_only_streams());
    watch.begin(false);
    assert!(!watch.has_only_streams());
    watch.finish(false, true);
    watch.finish(true, true);
    assert!(!watch.has_only_streams());
}

#[test]
fn a_stream_that_is_never_read_ends_the_connection_whatever_moves_beside_it() {
    let watch = Watch::default();
    watch.open(true);
    let busy_for = |seconds: u64| {
        for _ in 0..seconds {
            watch.begin(false);
            watch.note_written();
            watch.finish(false, true);
            look(&watch, 1);
        }
        watch.order()
    };
    watch.begin(false);
    watch.set_stalled(None, Some(watch.age()));
    assert_eq!(busy_for(59), Order::Stay);
    assert_eq!(
        busy_for(1),
        Order::Leave,
        "its next requests may go elsewhere"
    );
    assert_eq!(busy_for(59), Order::Leave);
    assert_eq!(busy_for(1), Order::Cut);
}

#[test]
fn pings_do_not_keep_an_unused_connection() {
    let watch = Watch::default();
    watch.open(true);
    watch.begin(false);
    watch.finish(false, true);
    look(&watch, 1);
    for _ in 0..60 {
        watch.note_written();
        look(&watch, 1);
    }
    assert_eq!(watch.order(), Order::Leave);
}

#[test]
fn who_takes_back_half_of_many_requests_is_sent_away_and_then_cut() {
    let request = |watch: &Watch, whole: bool| {
        watch.begin(false);
        watch.finish(false, whole);
    };
    for http2 in [false, true] {
        let watch = Watch::default();
        watch.open(http2);
        (1..CANCELLED).for_each(|_| request(&watch, false));
        assert_eq!(watch.order(), Order::Stay);
        request(&watch, false);
        let expected = if http2 { Order::Leave } else { Order::Stay };
        assert_eq!(watch.order(), expected);
        (0..CANCELLED).for_each(|_| request(&watch, false));
        let expected = if http2 { Order::Cut } else { Order::Stay };
        assert_eq!(watch.order(), expected);
    }
    let watch = Watch::default();
    watch.open(true);
    for _ in 0..2 * CANCELLED {
        (0..3).for_each(|_| request(&watch, true));
        request(&watch, false);
    }
    assert_eq!(watch.order(), Order::Stay, "a quarter is a busy browser");
}

#[test]
fn only_a_head_that_has_begun_is_worth_a_word() {
    for (http2, begun, blocked, told) in [
        (false, true, false, true),
        (false, false, false, false),
        (true, true, false, false),
        (false, true, true, false),
    ] {
        let watch = Watch::default();
        watch.open(http2);
        if begun {
            watch.note_read();
        }
        if blocked {
            watch.note_blocked();
        }
        assert_eq!(look(&watch, 10), Order::Cut);
        assert_eq!(watch.owes_timeout(), told, "{http2} {begun} {blocked}");
    }
}
