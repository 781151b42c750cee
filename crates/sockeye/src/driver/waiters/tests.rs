//! Nobody who waits is forgotten, nobody is woken for what is not his.

use std::sync::atomic::AtomicUsize;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counter() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

fn raise(waiters: &mut Waiters, id: SocketId, ready: Ready) -> usize {
    let mut woken = Vec::new();
    waiters.raise(id, ready, &mut woken);
    let count = woken.len();
    woken.into_iter().for_each(Waker::wake);
    count
}

#[test]
fn each_direction_wakes_all_of_its_waiters_and_no_other() {
    let (mut waiters, id) = (Waiters::default(), SocketId::from_u64(1));
    let ((readers, reader), (writers, writer)) = (counter(), counter());
    for _ in 0..3 {
        waiters.add(id, Ready::IN, &reader, &mut None);
    }
    waiters.add(id, Ready::OUT, &writer, &mut None);
    assert_eq!(raise(&mut waiters, id, Ready::IN), 3);
    assert_eq!((readers.0.load(Ordering::SeqCst), writers.0.load(Ordering::SeqCst)), (3, 0));
    assert_eq!(raise(&mut waiters, id, Ready::IN), 0, "a waiter is woken once");
    assert_eq!(raise(&mut waiters, id, Ready::ERR), 1, "an error wakes whoever waits");
    assert_eq!(raise(&mut waiters, SocketId::from_u64(2), Ready::IN), 0);
}

#[test]
fn the_stack_is_asked_only_for_what_it_does_not_report_yet() {
    let (mut waiters, id) = (Waiters::default(), SocketId::from_u64(1));
    let (_, waker) = counter();
    assert_eq!(waiters.add(id, Ready::IN, &waker, &mut None), Some(Ready::IN | ALWAYS));
    assert_eq!(waiters.add(id, Ready::IN, &waker, &mut None), None);
    assert_eq!(waiters.add(id, Ready::OUT, &waker, &mut None), Some(Ready::IN | Ready::OUT | ALWAYS));
}

#[test]
fn a_ticket_names_one_entry_that_can_move_and_leave() {
    let (mut waiters, id) = (Waiters::default(), SocketId::from_u64(1));
    let ((first, a), (second, b)) = (counter(), counter());
    let mut ticket = None;
    waiters.add(id, Ready::IN, &a, &mut ticket);
    waiters.add(id, Ready::IN, &b, &mut ticket);
    assert_eq!(waiters.len(), 1);
    raise(&mut waiters, id, Ready::IN);
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
    waiters.add(id, Ready::IN, &b, &mut ticket);
    waiters.remove(id, &mut ticket);
    assert_eq!((waiters.len(), ticket), (0, None));
}

#[test]
fn closing_wakes_everybody() {
    let (mut waiters, id) = (Waiters::default(), SocketId::from_u64(1));
    let (_, waker) = counter();
    waiters.add(id, Ready::IN, &waker, &mut None);
    waiters.add(id, Ready::OUT, &waker, &mut None);
    waiters.add(SocketId::from_u64(2), Ready::OUT, &waker, &mut None);
    let mut woken = Vec::new();
    waiters.close(id, &mut woken);
    assert_eq!((woken.len(), waiters.len()), (2, 1));
    waiters.close_all(&mut woken);
    assert_eq!((woken.len(), waiters.len()), (3, 0));
}

#[test]
fn a_thread_sleeps_until_it_is_woken_or_the_time_is_over() {
    let sleeper = Sleeper::current();
    sleeper.waker.wake_by_ref();
    assert!(sleeper.sleep(None), "a wake before the sleep counts");
    let began = std::time::Instant::now();
    assert!(!sleeper.sleep(Some(Duration::from_millis(20))));
    assert!(began.elapsed() >= Duration::from_millis(20));
    let waker = sleeper.waker.clone();
    let other = thread::spawn(move || waker.wake());
    assert!(sleeper.sleep(None));
    other.join().unwrap();
}
