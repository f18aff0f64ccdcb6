//! The three tasks of the bus: one hears, one tells, one says how far this instance is.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{FromRedisValue, Value};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::cache::bus::element::{Element, Entry, Kind};
use crate::cache::bus::outbox::Parcel;
use crate::cache::bus::reader::{Reader, Replay, Seen};
use crate::cache::bus::{Bus, HEARTBEAT};
use crate::cache::place::Place;
use crate::cache::purge_message::{PurgeMessage, Purged};
use crate::cache::store::redis::{Connection, Failure, FailureKind};
use crate::clock::timer_now;
use crate::metrics::{Event, L2State};

/// Hears, for good.
pub(super) async fn follow(bus: Bus) {
    let mut at = At::default();
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let begun = timer_now();
        let failure = session(&bus, &mut at).await;
        if !std::mem::replace(&mut told, true) && failure.kind != FailureKind::Away {
            warn!(error = %failure, help = failure.help(),
                "Purges of other instances are not heard just now.");
        }
        if begun.elapsed() > STEADY {
            (pause, told) = (FIRST_PAUSE, false);
        }
        wait(&bus, pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Waits for `pause`, or until Redis is back.
async fn wait(bus: &Bus, pause: Duration) {
    let mut state = bus.0.redis.changes();
    let is_away = *state.borrow_and_update() == L2State::Away;
    let back = async {
        if !is_away
            || state
                .wait_for(|state| *state != L2State::Away)
                .await
                .is_err()
        {
            std::future::pending::<()>().await;
        }
    };
    drop(timeout(pause, back).await);
}

/// How far the Stream was read.
#[derive(Debug, Default)]
struct At {
    /// `None` when it is to be read from its beginning.
    reader: Option<Reader>,
    /// How far it had been before.
    before: Option<Reader>,
}

/// Hears until something fails: what.
async fn session(bus: &Bus, at: &mut At) -> Failure {
    match hear(bus, at).await {
        Err(failure) => failure,
        Ok(()) => Failure::new(FailureKind::Late, "the Stream has more than was heard"),
    }
}

async fn hear(bus: &Bus, at: &mut At) -> Result<(), Failure> {
    let tail = bus.join().await?;
    let stream = &bus.0.scripts.bus;
    let mut connection = bus.0.redis.own_connection(stream.as_bytes()).await?;
    match tail {
        Some(tail) => {
            if let Some(reader) = at.reader.take_if(|reader| !reader.may_be_of(&tail)) {
                bus.missed("It has lost its latest elements.");
                at.before = Some(reader);
            }
        }
        // Whether anything is lost shows when all of it is read again.
        None => at.before = at.reader.take().or(at.before.take()),
    }
    loop {
        let Some(reader) = &mut at.reader else {
            at.reader = Some(bus.replay(&mut connection, at.before.as_ref()).await?);
            at.before = None;
            continue;
        };
        let elements = tokio::select! {
            elements = read_on(&mut connection, stream, &reader.position) => elements?,
            () = bus.0.look_again.notified() => return Ok(()),
        };
        let is_whole = elements.iter().all(|element| {
            let seen = reader.take(element);
            match seen {
                Seen::Next => bus.apply(element, Place::FIRST),
                Seen::Unreadable => bus.doubt(element),
                Seen::Gap => bus.missed("An element is missing."),
            }
            seen != Seen::Gap
        });
        if !is_whole {
            at.before = at.reader.take();
        }
        if !elements.is_empty() {
            bus.0.beat_now.notify_one();
        }
    }
}

impl Bus {
    /// Takes part: id and name of the latest element. `None` where Redis takes nothing from this instance,
    /// which is a replica of it, or full, say: what others purge can be heard even so.
    async fn join(&self) -> Result<Option<String>, Failure> {
        let joined = async {
            // Others know of this instance before it knows of them.
            self.say(Kind::Hello, self.0.shared.place()).await?;
            self.beat().await
        };
        match joined.await {
            Ok(beat) => {
                self.0.is_refused.store(false, Ordering::Relaxed);
                Ok(Some(beat.tail))
            }
            Err(failure) if failure.is_refusal() => {
                if !self.0.is_refused.swap(true, Ordering::Relaxed) {
                    warn!(error = %failure, help = failure.help(),
                        "Redis takes no purges from this instance: others are not told of them.");
                }
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Goes through the whole Stream, which had been read until `before`: where to read on.
    async fn replay(
        &self,
        connection: &mut Connection,
        before: Option<&Reader>,
    ) -> Result<Reader, Failure> {
        let shared = &self.0.shared;
        let applied = shared.place();
        let (mut replay, mut own) = (Replay::after(before.cloned()), HashSet::new());
        // What memory has is to be validated, so of purges it need not be told one by one. Those that
        // are new it is told of nevertheless: then it need not ask for what they hit.
        let in_memory_until = if before.is_none() {
            Place::LAST
        } else {
            applied
        };
        let mut from = "-".to_owned();
        loop {
            let elements = read_range(connection, &self.0.scripts.bus, &from).await?;
            for element in &elements {
                replay.take(element, is_anything(element));
                self.apply(element, in_memory_until);
                if let Ok(entry) = &element.entry
                    && entry.instance == self.0.instance
                {
                    own.insert(entry.ticket);
                }
            }
            match elements.last() {
                Some(last) => from = format!("({}", last.id),
                None => break,
            }
        }
        let replayed = replay.end().ok_or_else(|| {
            let detail = "the Stream is empty, just after something was added to it";
            Failure::new(FailureKind::Refused, detail)
        })?;
        let latest = Place::of_id(&replayed.reader.position).unwrap_or(Place::LAST);
        if replayed.has_lost || latest < applied {
            // Whoever comes later does not know what was lost, and ids that were heard may have been
            // given to others. So all are told, at a place after all of that.
            let message = PurgeMessage::anything().write();
            self.say(Kind::Purge(message.to_vec()), applied).await?;
            return Err(Failure::new(
                FailureKind::Late,
                "it has lost its latest elements",
            ));
        }
        let horizon = Place::at(shared.clock().now().wall - AGAIN);
        let again = self
            .0
            .outbox
            .send_again(|ticket| own.contains(&ticket), horizon);
        if before.is_none() {
            // It has been asked for while nobody heard anything.
            shared.suspect_all();
        }
        shared.trust_from(replayed.floor);
        self.0.applied.send_replace(shared.place());
        info!(again, from = %replayed.floor, "Purges of all instances are heard.");
        Ok(replayed.reader)
    }

    /// Does what `element` says, in memory only if it is later than `in_memory_until`.
    fn apply(&self, element: &Element, in_memory_until: Place) {
        let shared = &self.0.shared;
        let (Ok(entry), Some(place)) = (&element.entry, element.place) else {
            return;
        };
        let is_own = entry.instance == self.0.instance;
        if let Kind::Purge(written) = &entry.kind {
            let written = Bytes::copy_from_slice(written);
            match PurgeMessage::read(&written) {
                Err(_) => return self.doubt(element),
                Ok(message) if is_own && entry.ticket > 0 => {
                    shared.placed(&written, &message, place, entry.ticket);
                    self.0.outbox.note_place(entry.ticket, place);
                }
                Ok(message) if place > in_memory_until => {
                    shared.apply(&written, &message, place);
                    self.0.metrics.count(Event::PurgeHeard);
                }
                Ok(_) => drop(shared.restore(&written, place)),
            }
        } else if entry.kind == Kind::Hello && !is_own {
            // It may fetch from now on: this instance is not alone any more.
            let alive = &self.0.alive;
            let _was = alive.compare_exchange(1, 2, Ordering::AcqRel, Ordering::Relaxed);
        } else if entry.kind == Kind::Bye {
            self.others().remove(&entry.instance);
        }
        shared.heard_up_to(place);
        if shared.is_trusted() {
            self.0.applied.send_if_modified(|applied| {
                let is_later = place > *applied;
                *applied = place.max(*applied);
                is_later
            });
        }
    }

    /// `element` may be a purge, and nobody here knows which.
    fn doubt(&self, element: &Element) {
        let place = element.place.unwrap_or(Place::LAST);
        warn!(id = element.id, error = ?element.entry.as_ref().err(),
            "Somebody told of a purge in a way that is not known here, so everything stored is validated before \
             its next use. Is another version running, or is the prefix somebody else's as well?");
        self.0.metrics.count(Event::PurgeUnreadable);
        self.0.shared.doubt(place);
    }

    /// Something that was told was not heard, nobody knows what.
    fn missed(&self, why: &str) {
        warn!(
            why,
            "Purges of other instances may have been missed, so everything stored is validated before its next use."
        );
        self.0.metrics.count(Event::PurgeGap);
        self.0.shared.distrust();
    }

    /// Tells what is no purge of a client or an operator, at a place after `before`.
    pub(super) async fn say(&self, kind: Kind, before: Place) -> Result<(), Failure> {
        let entry = Entry {
            instance: self.0.instance,
            ticket: 0,
            kind,
        };
        let parcel = Parcel {
            ticket: 0,
            entry: entry.write(),
            is_anything: false,
        };
        self.0.scripts.tell(&[parcel], before.next()).await
    }
}

fn is_anything(element: &Element) -> bool {
    let Ok(Kind::Purge(written)) = element.entry.as_ref().map(|entry| &entry.kind) else {
        return false;
    };
    PurgeMessage::read(written).is_ok_and(|message| message.what == Purged::Anything)
}

async fn read_on(
    connection: &mut Connection,
    stream: &str,
    position: &str,
) -> Result<Vec<Element>, Failure> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(TOGETHER);
    command.arg("BLOCK").arg(BLOCK.as_millis().to_string());
    command.arg("STREAMS").arg(stream).arg(position);
    let answer = connection.command(&command, BLOCK + SLACK).await?;
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let reply = StreamReadReply::from_redis_value(answer).map_err(unlike)?;
    let elements = reply.keys.iter().flat_map(|key| &key.ids);
    Ok(elements.map(Element::of).collect())
}

async fn read_range(
    connection: &mut Connection,
    stream: &str,
    from: &str,
) -> Result<Vec<Element>, Failure> {
    let mut command = redis::cmd("XRANGE");
    command.arg(stream).arg(from).arg("+");
    command.arg("COUNT").arg(TOGETHER);
    let answer = connection.command(&command, SLACK).await?;
    let reply = StreamRangeReply::from_redis_value(answer).map_err(unlike)?;
    Ok(reply.ids.iter().map(Element::of).collect())
}

fn unlike(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Refused, error.to_string())
}

/// Tells what is purged here, for good.
pub(super) async fn tell(bus: Bus) {
    let outbox = bus.0.outbox.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        if outbox.has_given_up() {
            // First what stands for them, and has a ticket of its own; then they need none.
            bus.0.shared.purge_anything();
            for ticket in outbox.take_given_up() {
                bus.0.shared.give_up(ticket);
            }
            warn!(
                "More purges wait for Redis than there is room for; others will validate everything they have instead."
            );
        }
        let parcels = outbox.take();
        if parcels.is_empty() {
            outbox.filled.notified().await;
            continue;
        }
        match bus
            .0
            .scripts
            .tell(&parcels, bus.0.shared.place().next())
            .await
        {
            Ok(()) => pause = FIRST_PAUSE,
            Err(_) => {
                outbox.put_back(parcels);
                wait(&bus, pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Says how far this instance is, for good.
pub(super) async fn beat(bus: Bus) {
    let mut known_since = None;
    let mut behind = 0;
    loop {
        match bus.beat().await {
            Ok(beat) => {
                let alive = bus.remember(&beat);
                let is_caught_up = beat.latest().is_some_and(|latest| latest <= bus.applied());
                if is_caught_up {
                    let now = bus.since_start().as_millis();
                    let now = u64::try_from(now).unwrap_or(u64::MAX);
                    bus.0.well_at.store(now, Ordering::Relaxed);
                }
                // It has more than was heard, or less.
                let is_level = beat.latest() == Some(bus.applied());
                behind = if is_level { 0 } else { behind + 1 };
                let since = *known_since.get_or_insert_with(timer_now);
                // Those that start together need a while to know of each other.
                let is_sure = is_caught_up && since.elapsed() > SETTLED;
                let alive = if is_sure { alive } else { 0 };
                bus.0.alive.store(alive, Ordering::Release);
            }
            Err(_) => {
                known_since = None;
                bus.0.alive.store(0, Ordering::Release);
            }
        }
        if behind == PATIENCE {
            behind = 0;
            bus.0.look_again.notify_one();
        }
        // Not more often than that, however much is purged.
        sleep(BREATH).await;
        drop(timeout(HEARTBEAT - BREATH, bus.0.beat_now.notified()).await);
    }
}

/// How long Redis keeps a reader waiting for news.
const BLOCK: Duration = Duration::from_secs(1);
/// For an answer to come, beside that.
const SLACK: Duration = Duration::from_secs(1);
/// Elements read at once.
const TOGETHER: usize = 500;
/// Heartbeats in a row after which a reader that hears nothing of what there is opens another connection.
const PATIENCE: u32 = 3;
/// How long an instance is with the others before it believes that it is alone.
const SETTLED: Duration = Duration::from_secs(3);
/// Purges of our own that were told this lately are told again if they got lost.
const AGAIN: Duration = Duration::from_secs(300);
/// Between two heartbeats when there is much news.
const BREATH: Duration = Duration::from_millis(20);
/// After this long, what went wrong before is another matter.
const STEADY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
