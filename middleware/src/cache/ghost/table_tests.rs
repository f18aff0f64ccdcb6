use super::*;

fn key(number: u64) -> KeyHash {
    xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())
}

fn terms(lifetime: u64) -> Terms {
    Terms {
        source: Source::RouteTtl,
        ..Terms::fresh_for(Duration::from_secs(lifetime))
    }
}

fn record(received: u64, lifetime: u64) -> Record {
    let fill = Fill::new(
        Duration::from_secs(received),
        &terms(lifetime),
        Duration::ZERO,
        Sight::default(),
    );
    Record {
        fills: [Some(fill); PLANS],
        has_confirmed: false,
    }
}

fn put(table: &Table, number: u64, record: Record, now: u64) {
    let key = key(number);
    table.shard(key).put(key, record, Duration::from_secs(now));
}

fn count(table: &Table) -> (usize, f64) {
    let (mut keys, mut stands_for) = (0, 0.0);
    table.for_each(|shard| {
        keys += shard.len();
        let weights = shard.records().filter_map(|(key, _)| shard.weight(*key));
        stands_for += weights.sum::<f64>();
    });
    (keys, stands_for)
}

#[test]
fn a_record_is_as_small_as_the_reference_says() {
    // A B-tree's leaves are two thirds full as a rule, five elevenths at least.
    let each = size_of::<Record>() + size_of::<KeyHash>();
    let usual = each * 3 / 2;
    assert!(usual < 500, "{usual}");
    assert!(each * 11 / 5 < 700, "{each}");
}

#[test]
fn a_million_keys_are_a_part_of_them_which_stands_for_all() {
    let table = Table::new(8192);
    for number in 0..1_000_000 {
        put(&table, number, record(0, 300), 0);
    }
    let (keys, stands_for) = count(&table);
    assert!(keys <= 8192, "{keys}");
    assert!(keys > 8192 / 2, "{keys}");
    assert!((0.95e6..1.05e6).contains(&stands_for), "{stands_for}");
}

#[test]
fn what_is_stale_makes_room_before_the_sample_gets_smaller() {
    let table = Table::new(1024);
    for number in 0..100_000 {
        // Each is fresh for ten seconds, and twenty come each second.
        let now = number / 20;
        put(&table, number, record(now, 10), now);
    }
    table.for_each(|shard| assert_eq!(shard.followed, u64::MAX));
}

#[test]
fn busy_keys_are_followed_whatever_their_hash_and_there_are_few_of_them() {
    let table = Table::new(1024);
    let ask = |number, now| {
        let key = key(number);
        table.shard(key).note(key);
        put(&table, number, record(now, 300), now);
    };
    // Every fifth request is for one of twenty keys.
    for number in 0..200_000 {
        match number % 5 {
            0 => ask(number / 5 % 20, 0),
            _ => ask(1000 + number, 0),
        }
    }
    let (keys, _) = count(&table);
    assert!(keys <= 1024, "{keys}");
    for number in 0..20 {
        let key = key(number);
        assert_eq!(table.shard(key).weight(key), Some(1.0), "{number}");
    }
    // What is known of them goes with a purge; they stay as busy as they were.
    let fills = |number| {
        let key = key(number);
        let shard = table.shard(key);
        shard
            .record(key)
            .map(|record| record.fills.iter().flatten().count())
    };
    table.forget(key(1));
    assert_eq!((fills(0), fills(1)), (Some(PLANS), Some(0)));
    table.forget_all();
    assert_eq!(fills(0), Some(0));
    // They are forgotten when others are busy.
    for number in 0..400_000 {
        ask(500 + number % 20, 0);
    }
    let still = (0..20).filter(|number| {
        let key = key(*number);
        table.shard(key).weight(key) == Some(1.0)
    });
    assert!(still.count() < 5);
}

#[test]
fn a_bound_that_is_too_low_is_raised_and_counted_by_when_it_is_warm() {
    let table = Table::new(1024);
    for number in 0..100_000 {
        put(&table, number, record(0, 10), 0);
    }
    let mut part = f64::MAX;
    table.for_each(|shard| part = part.min(shard.part()));
    assert!(part < 0.02, "{part}");
    for minute in 0..200 {
        for number in 0..64 {
            put(
                &table,
                1_000_000 + minute * 64 + number,
                record(minute * 60, 10),
                minute * 60,
            );
        }
        table.for_each(|shard| assert!(shard.counted <= shard.followed));
    }
    let mut part = f64::MAX;
    table.for_each(|shard| part = part.min(shard.part()));
    assert!(part > 0.9, "{part}");
}

#[test]
fn keys_that_are_not_counted_yet_have_no_weight() {
    let mut shard = Shard {
        records: BTreeMap::new(),
        most: 100,
        followed: u64::MAX,
        counted: u64::MAX / 4,
        warm: Duration::from_secs(300),
        raise: Duration::from_secs(1000),
        busy: None,
    };
    let low = KeyHash::from(7_u64);
    let high = KeyHash::from(u64::MAX / 2) << 64;
    assert_eq!(shard.weight(low), Some(4.0));
    assert_eq!(shard.weight(high), None);
    assert!(shard.is_followed(high));
    shard.put(high, record(0, 1), Duration::from_secs(299));
    assert_eq!(shard.weight(high), None);
    shard.put(low, record(0, 1), Duration::from_secs(300));
    assert_eq!(shard.weight(high), Some(1.0));
}

#[test]
fn all_variants_of_a_url_are_forgotten_and_no_other() {
    let table = Table::new(1024);
    let variant = |number: u128| (number << 64) | 0xabc;
    for number in 0..5 {
        let key = variant(number);
        table.shard(key).put(key, record(0, 1), Duration::ZERO);
    }
    put(&table, 1, record(0, 1), 0);
    table.forget(variant(77));
    assert_eq!(count(&table).0, 1);
    table.forget_all();
    assert_eq!(count(&table).0, 0);
}

#[test]
fn what_is_compared() {
    let sight = |hash, tag, coding| Sight {
        hash,
        tag,
        coding,
        length: 0,
    };
    for (copy, fetched, expected) in [
        (sight(1, 0, 0), sight(1, 0, 0), Likeness::Same),
        (sight(1, 0, 0), sight(2, 0, 0), Likeness::Different),
        // The same content under another tag is the same content.
        (sight(1, 5, 0), sight(1, 6, 0), Likeness::Same),
        (sight(1, 5, 0), sight(0, 5, 0), Likeness::Same),
        (sight(1, 5, 0), sight(0, 6, 0), Likeness::Different),
        (sight(1, 0, 0), sight(0, 6, 0), Likeness::Unknown),
        (sight(1, 5, 0), sight(2, 6, 9), Likeness::Unknown),
        (sight(1, 0, 0), sight(1, 0, 9), Likeness::Unknown),
    ] {
        assert_eq!(copy.compare(fetched), expected, "{copy:?} {fetched:?}");
    }
}

#[test]
fn a_fill_keeps_what_the_rules_look_at() {
    let all = Terms {
        initial_age: Duration::from_millis(1500),
        no_cache: true,
        must_revalidate: true,
        s_maxage: true,
        immutable: true,
        stale_while_revalidate: Some(Duration::from_secs(30)),
        ..terms(60)
    };
    for terms in [
        all,
        terms(1),
        Terms {
            no_cache: true,
            ..terms(1)
        },
        Terms {
            immutable: true,
            ..terms(1)
        },
    ] {
        let window = terms.stale_while_revalidate.unwrap_or_default();
        let fill = Fill::new(Duration::from_secs(10), &terms, window, Sight::default());
        let candidate = fill.candidate(Duration::from_secs(12));
        assert_eq!(
            Terms {
                source: terms.source,
                stale_while_revalidate: terms.stale_while_revalidate,
                ..candidate.terms
            },
            terms
        );
        assert_eq!(candidate.terms.stale_while_revalidate, Some(window));
        assert_eq!(candidate.age, terms.initial_age + Duration::from_secs(2));
    }
    let huge = Fill::new(
        Duration::MAX,
        &Terms {
            lifetime: Duration::MAX,
            initial_age: Duration::MAX,
            ..terms(1)
        },
        Duration::MAX,
        Sight::default(),
    );
    assert!(!huge.candidate(Duration::MAX).is_fresh());
}
