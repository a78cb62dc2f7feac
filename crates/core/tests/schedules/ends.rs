//! What must hold when a call ends, and whenever nothing more happens by itself.

use std::time::Duration;

use tokio::time::Instant;
use vodbridge_core::{DEAD_LETTER_RESERVE, Ended, Outcome};

use crate::model::{Call, Event, Model, Permit, Role};

/// What a timer may be late.
const LATE: Duration = Duration::from_millis(2);
/// How long a delivery that holds a permit waits for its share of a sink.
const SHARE_PATIENCE: Duration = Duration::from_secs(1);

impl Model {
    /// A call has returned.
    pub(crate) fn ended(&mut self, number: usize, ended: &Ended, now: Instant) {
        let outcome = ended.result.as_ref().ok().copied();
        let call = &self.calls[number];
        let (id, role) = (call.id.clone(), call.role);
        let found = match role {
            Role::Lead => self.lead_ended(number, outcome, now),
            Role::Join => self.join_ended(number, outcome, now),
            Role::Settled(known) => match (outcome == Some(known), now == call.begun) {
                (false, _) => Err("another outcome than the first time".to_owned()),
                (_, false) => Err("not at once, though it is settled".to_owned()),
                _ => Ok(()),
            },
        };
        let (call, joined) = (&mut self.calls[number], role == Role::Join);
        call.done = true;
        if call.reserved && role != Role::Lead {
            call.permit = Permit::Yes;
        }
        if let Err(wrong) = found {
            self.must(false, || format!("{id} ended {outcome:?}: {wrong}"));
        }
        self.must(ended.joined == joined, || {
            format!("{id}: joined is not {joined}")
        });
    }

    fn lead_ended(
        &mut self,
        number: usize,
        outcome: Option<Outcome>,
        now: Instant,
    ) -> Result<(), String> {
        let (call, cut) = (&mut self.calls[number], self.cut);
        let event = self.events.get_mut(&call.id).expect("it arrived");
        let lead = event.lead.take().ok_or("it was not in flight")?;
        event.last = Some((now, outcome));
        if !lead.admitted && outcome.is_none() {
            // It may have had its permit too late to publish.
            call.permit = Permit::Perhaps;
        }
        if outcome != event.outcome() {
            return Err(format!("durable says {:?}", event.outcome()));
        }
        if now > lead.deadline + LATE {
            return Err(format!("{:?} after its deadline", now - lead.deadline));
        }
        let no_share = call.reserved && !lead.admitted && now >= call.begun + SHARE_PATIENCE;
        let over = now >= lead.due - DEAD_LETTER_RESERVE;
        match outcome.is_some() || cut || no_share || over || !lead.lost.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?} before its deadline", lead.due - now)),
        }
    }

    fn join_ended(
        &mut self,
        number: usize,
        outcome: Option<Outcome>,
        now: Instant,
    ) -> Result<(), String> {
        let call = &self.calls[number];
        let event = &self.events[&call.id];
        if now > call.deadline + LATE {
            return Err("after its deadline".to_owned());
        }
        match (event.last, outcome) {
            // Whoever gives up early knows nothing.
            (_, None) if now >= call.deadline => Ok(()),
            (Some((at, first)), _) if at == now && first == outcome => Ok(()),
            (last, _) => Err(format!("the first ended {last:?}")),
        }
    }

    /// A call was dropped, or panicked, before it ended.
    pub(crate) fn dropped(&mut self, number: usize, now: Instant) {
        let call = &mut self.calls[number];
        (call.done, call.permit) = (true, Permit::No);
        if call.role == Role::Lead {
            let event = self.events.get_mut(&call.id).expect("it arrived");
            (event.lead, event.last) = (None, Some((now, None)));
        }
    }

    /// Nothing happens any more by itself at this moment. `in_flight` is what the metric says,
    /// `reserved` are permits that were taken before what they are for.
    pub(crate) fn is_quiet(&mut self, in_flight: usize, reserved: usize, now: Instant) {
        let mut wrong: Vec<String> = Vec::new();
        for call in self.calls.iter().filter(|call| !call.done) {
            let event = &self.events[&call.id];
            wrong.extend(self.goes_on(call, event, now).err());
        }
        let count = |permit| {
            self.calls
                .iter()
                .filter(|call| call.permit == permit)
                .count()
        };
        let (used, perhaps) = (count(Permit::Yes), count(Permit::Perhaps));
        let waiting = self.calls.iter();
        let waiting =
            waiting.filter(|call| call.reserved && !call.done && call.permit == Permit::No);
        let taken = used + reserved + waiting.count();
        let most = self.world.max_in_flight;
        if !(used..=used + perhaps).contains(&in_flight) {
            wrong.push(format!(
                "{in_flight} in flight, not {used} and {perhaps} perhaps"
            ));
        }
        if taken > most {
            wrong.push(format!("{taken} permits of {most} are taken"));
        }
        let (share, at_dead_letter) = (self.world.share(), self.at_dead_letter());
        for sink in (0..self.world.sinks).filter(|_| self.world.has_shares()) {
            let waiting = self.waiting_for(sink);
            if waiting > share {
                wrong.push(format!(
                    "{waiting} deliveries wait for sink {sink}, not {share}"
                ));
            }
        }
        if at_dead_letter > share {
            wrong.push(format!(
                "{at_dead_letter} wait for the dead letter, not {share}"
            ));
        }
        for (id, event) in &self.events {
            let Some(lead) = &event.lead else { continue };
            let has_time = now + LATE < lead.due - DEAD_LETTER_RESERVE;
            let is_full = !lead.admitted
                && (taken + perhaps >= most && !self.calls[lead.call].reserved
                    || self.lacks_share(event));
            if has_time && !lead.admitted && !is_full {
                wrong.push(format!("{id} waits, though there is room"));
            }
            let mut refusals = lead.refusals().map(Some);
            let waits = refusals.any(|refusal| !lead.letters.contains(&refusal));
            if has_time && waits && at_dead_letter < share {
                wrong.push(format!(
                    "{id} is refused and not dead-lettered, though there is room"
                ));
            }
        }
        self.violations.extend(wrong);
    }

    /// A call that has not ended: it should go on.
    fn goes_on(&self, call: &Call, event: &Event, now: Instant) -> Result<(), String> {
        let id = &call.id;
        let Some(lead) = &event.lead else {
            return Err(format!("{id} has ended, but not for all of its callers"));
        };
        let until = match call.role {
            Role::Lead if call.reserved && !lead.admitted => {
                lead.deadline.min(call.begun + SHARE_PATIENCE)
            }
            Role::Lead => lead.deadline,
            Role::Join => call.deadline,
            Role::Settled(_) => call.begun,
        };
        match () {
            () if now > until + LATE => Err(format!("{id} waits after its deadline")),
            () if event.outcome().is_some() => Err(format!("{id} is durable, but goes on")),
            () if self.cut => Err(format!("{id} goes on after the cut")),
            () => Ok(()),
        }
    }

    /// Deliveries that hold a share of a sink.
    fn waiting_for(&self, sink: usize) -> usize {
        let waits = |event: &&Event| {
            let is_admitted = event.lead.as_ref().is_some_and(|lead| lead.admitted);
            is_admitted && event.open().any(|open| open == sink)
        };
        self.events.values().filter(waits).count()
    }

    /// Dead letters on their way.
    fn at_dead_letter(&self) -> usize {
        let letters = |event: &Event| {
            let Some(lead) = &event.lead else { return 0 };
            let is_open = |of: &&Option<usize>| {
                let settled = of.is_some_and(|sink| event.open().all(|open| open != sink));
                !settled && !lead.lost.contains(*of)
            };
            lead.letters.iter().filter(is_open).count()
        };
        self.events.values().map(letters).sum()
    }

    /// Whether the event would wait for a share that others have.
    fn lacks_share(&self, event: &Event) -> bool {
        let share = self.world.share();
        let full = |sink| self.waiting_for(sink) >= share;
        match event.required.is_empty() {
            true => self.at_dead_letter() >= share,
            false => self.world.has_shares() && event.open().any(full),
        }
    }
}
