//! What bounds the deliveries of a source: the permits, and the share of them that deliveries may
//! hold that wait for one sink, or for the dead letter's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{Pipeline, SinkSet};

const DEAD_LETTER: usize = SinkSet::MAX;
const PERMIT: usize = DEAD_LETTER + 1;
const KINDS: usize = PERMIT + 1;

/// How many places of each kind: one for each sink that has to ack, one for the dead letter's
/// sink, and permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    sinks: SinkSet,
    dead_letter: bool,
    permits: usize,
}

impl Needs {
    pub(crate) fn sinks(sinks: SinkSet) -> Self {
        Self {
            sinks,
            ..Self::default()
        }
    }

    pub(crate) fn dead_letter() -> Self {
        Self {
            dead_letter: true,
            ..Self::default()
        }
    }

    pub(crate) fn permits(permits: usize) -> Self {
        Self {
            permits,
            ..Self::default()
        }
    }

    pub(crate) fn and_permits(self, permits: usize) -> Self {
        Self { permits, ..self }
    }

    /// The kinds, and how many of each.
    fn iter(self) -> impl Iterator<Item = (usize, usize)> {
        let others = [
            (DEAD_LETTER, usize::from(self.dead_letter)),
            (PERMIT, self.permits),
        ];
        let sinks = self.sinks.iter().map(|sink| (sink, 1));
        sinks.chain(others).filter(|(_, count)| *count > 0)
    }
}

/// The places of one source.
///
/// Whoever needs several gets all of them at once and holds none until then: deliveries that wait
/// for a sink that is away would hold the places of those that do not. Among those that wait for
/// the same, the first comes first.
#[derive(Debug)]
pub(crate) struct Places(Mutex<State>);

#[derive(Debug)]
struct State {
    free: [usize; KINDS],
    /// By number; each waits with a kind that it lacks, or that somebody before it lacks.
    waiting: [BTreeMap<u64, Waiter>; KINDS],
    count: u64,
}

#[derive(Debug)]
struct Waiter {
    needs: Needs,
    granted: oneshot::Sender<()>,
}

impl Places {
    /// `max_in_flight` permits. Where a source can reach several sinks, none may hold more than
    /// half of them with deliveries that wait for it, so that one that is away does not stop the
    /// others.
    pub(crate) fn new(pipeline: &Pipeline, max_in_flight: usize) -> Arc<Self> {
        let half = max_in_flight.div_ceil(2);
        let share = if pipeline.waits_for_several() {
            half
        } else {
            max_in_flight
        };
        Self::with(share, half, max_in_flight)
    }

    /// So many places for each sink, and for the dead letter's, and so many permits.
    pub(crate) fn with(sink: usize, dead_letter: usize, permits: usize) -> Arc<Self> {
        let mut free = [sink; KINDS];
        (free[DEAD_LETTER], free[PERMIT]) = (dead_letter, permits);
        Arc::new(Self(Mutex::new(State {
            free,
            waiting: std::array::from_fn(|_| BTreeMap::new()),
            count: 0,
        })))
    }

    /// Resolves once there is all of it.
    pub(crate) async fn take(self: &Arc<Self>, needs: Needs) -> Taken {
        let taken = |needs| Taken {
            places: self.clone(),
            needs,
        };
        let Some((number, granted)) = self.lock().take_or_wait(needs) else {
            return taken(needs);
        };
        let mut waits = Waits {
            places: self,
            needs,
            number,
            is_over: false,
        };
        granted.await.expect("nobody's place in a queue is lost");
        waits.is_over = true;
        taken(needs)
    }

    fn give_back(&self, needs: Needs) {
        let mut state = self.lock();
        for (kind, count) in needs.iter() {
            state.free[kind] += count;
        }
        needs.iter().for_each(|(kind, _)| state.serve(kind));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes all of it, or gives a number and what resolves when its turn has come.
    fn take_or_wait(&mut self, needs: Needs) -> Option<(u64, oneshot::Receiver<()>)> {
        let is_missing = |(kind, count): &(usize, usize)| {
            self.free[*kind] < *count || !self.waiting[*kind].is_empty()
        };
        let Some((missing, _)) = needs.iter().find(is_missing) else {
            self.take(needs);
            return None;
        };
        let (number, (granted, waits)) = (self.count, oneshot::channel());
        self.count += 1;
        self.waiting[missing].insert(number, Waiter { needs, granted });
        Some((number, waits))
    }

    fn take(&mut self, needs: Needs) {
        for (kind, count) in needs.iter() {
            self.free[kind] -= count;
        }
    }

    /// Gives what is free of a kind to those that wait for it, in their order. One that lacks
    /// another kind waits for that from now on, so nobody is looked at twice.
    fn serve(&mut self, kind: usize) {
        while let Some((number, waiter)) = self.waiting[kind].pop_first() {
            let needs = waiter.needs;
            let lacks = |(kind, count): &(usize, usize)| self.free[*kind] < *count;
            let own = needs.iter().find(|(of, _)| *of == kind);
            match own.filter(lacks).or_else(|| needs.iter().find(lacks)) {
                None => {
                    if waiter.granted.send(()).is_ok() {
                        self.take(needs);
                    }
                }
                Some((missing, _)) => {
                    self.waiting[missing].insert(number, waiter);
                    if missing == kind {
                        return;
                    }
                }
            }
        }
    }
}

/// A place in a queue. Given up, what it was granted meanwhile goes back, and who stands behind it
/// is looked at.
struct Waits<'a> {
    places: &'a Places,
    needs: Needs,
    number: u64,
    is_over: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.places.lock();
        let mut kinds = self.needs.iter().map(|(kind, _)| kind);
        match kinds.find(|kind| state.waiting[*kind].remove(&self.number).is_some()) {
            Some(kind) => state.serve(kind),
            None => {
                drop(state);
                self.places.give_back(self.needs);
            }
        }
    }
}

/// Places that are taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    places: Arc<Places>,
    needs: Needs,
}

impl Taken {
    /// Some of the permits in it.
    pub(crate) fn split_permits(&mut self, permits: usize) -> Self {
        let permits = permits.min(self.needs.permits);
        self.needs.permits -= permits;
        Self {
            places: self.places.clone(),
            needs: Needs::permits(permits),
        }
    }

    /// Gives back what is in it for a sink.
    pub(crate) fn release(&mut self, sink: usize) {
        if self.needs.sinks.contains(sink) {
            let sink = SinkSet::of([sink]);
            self.needs.sinks = self.needs.sinks.without(sink);
            self.places.give_back(Needs::sinks(sink));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.needs != Needs::default() {
            self.places.give_back(self.needs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Taking<'a> = Pin<Box<dyn Future<Output = Taken> + 'a>>;

    fn places() -> Arc<Places> {
        Places::with(1, 1, 2)
    }

    fn take(places: &Arc<Places>, sinks: &[usize], permits: usize) -> Taking<'static> {
        let needs = Needs::sinks(SinkSet::of(sinks.iter().copied())).and_permits(permits);
        let places = places.clone();
        Box::pin(async move { places.take(needs).await })
    }

    fn now(taking: &mut Taking<'_>) -> Option<Taken> {
        let mut context = Context::from_waker(Waker::noop());
        match taking.as_mut().poll(&mut context) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    fn all_are_free(places: &Places) -> bool {
        let state = places.lock();
        let free = state.free.iter().enumerate();
        let mut free = free.map(|(kind, free)| *free == if kind == PERMIT { 2 } else { 1 });
        free.all(|is_free| is_free) && state.waiting.iter().all(BTreeMap::is_empty)
    }

    #[test]
    fn whoever_lacks_one_thing_holds_no_other() {
        let places = places();
        let first = now(&mut take(&places, &[0], 1)).unwrap();
        let mut both = take(&places, &[0, 1], 1);
        assert!(now(&mut both).is_none());
        let other = now(&mut take(&places, &[1], 1));
        assert!(
            other.is_some(),
            "the other sink has a place, and a permit is left"
        );
        drop(first);
        assert!(
            now(&mut both).is_none(),
            "now the other sink's place is missing"
        );
        drop(other);
        drop(now(&mut both).unwrap());
        assert!(all_are_free(&places));
    }

    #[test]
    fn the_first_comes_first() {
        let places = places();
        let all = now(&mut take(&places, &[], 2)).unwrap();
        let (mut large, mut small) = (take(&places, &[], 2), take(&places, &[1], 1));
        assert!(now(&mut large).is_none() && now(&mut small).is_none());
        drop(all);
        let large = now(&mut large).unwrap();
        assert!(now(&mut small).is_none());
        drop(large);
        assert!(now(&mut small).is_some());
        assert!(all_are_free(&places));
    }

    #[test]
    fn whoever_gives_up_holds_nothing_and_stands_in_nobodys_way() {
        let places = places();
        let one = now(&mut take(&places, &[], 1)).unwrap();
        let (mut large, mut small) = (take(&places, &[], 2), take(&places, &[], 1));
        assert!(now(&mut large).is_none() && now(&mut small).is_none());
        drop(large);
        assert!(now(&mut small).is_some(), "who stood behind it is served");
        let mut granted = take(&places, &[], 2);
        assert!(now(&mut granted).is_none());
        drop(one);
        // Its turn has come, but it never looks.
        drop(granted);
        assert!(all_are_free(&places));
    }
}
