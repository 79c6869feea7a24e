//! The Rust face: ownership, errors, views; the C library underneath has tests of its own.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tachyon::{
    Bus, Caller, Dispatcher, Error, Listener, Message, Options, Record, Server, ServerListener,
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(1);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tachyon-rs-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn bus(&self) -> PathBuf {
        self.0.join("bus")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Two ends in one process: (connected, listened).
fn pair_with(options: &Options) -> (Bus, Bus) {
    let folder = Folder::new();
    thread::scope(|scope| {
        let path = folder.bus();
        let listening = scope.spawn(move || Bus::listen_with(path, options, Some(LONG)).unwrap());
        let connected = Bus::connect_with(folder.bus(), options, Some(LONG)).unwrap();
        (connected, listening.join().unwrap())
    })
}

fn pair() -> (Bus, Bus) {
    pair_with(&Options::default())
}

fn rpc_pair() -> (Caller, Server) {
    let folder = Folder::new();
    let options = Options::default();
    thread::scope(|scope| {
        let path = folder.bus();
        let serving = scope.spawn(|| Server::listen_with(path, &options, Some(LONG)).unwrap());
        let caller = Caller::connect_with(folder.bus(), &options, Some(LONG)).unwrap();
        (caller, serving.join().unwrap())
    })
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tick {
    time: u64,
    price: f64,
}

// SAFETY: two numbers without padding.
unsafe impl Record for Tick {}

#[test]
fn a_message_is_copied_into_a_buffer_if_it_fits() {
    let (consumer, producer) = pair();
    let (receiver, mut buffer) = (&consumer.receiver, *b"oldbytes");
    assert_eq!(receiver.try_recv_into(&mut buffer), Ok(None));
    assert_eq!(receiver.recv_into_timeout(&mut buffer, SHORT), Err(Error::TimedOut));
    producer.send(b"nine bytes", 1).unwrap();
    producer.send(b"more", 2).unwrap();
    assert!(matches!(receiver.recv_into(&mut buffer), Err(Error::TooLarge(_))));
    assert_eq!(&buffer, b"oldbytes");
    assert_eq!(&consumer.recv().unwrap()[..], b"nine bytes");
    assert_eq!(receiver.recv_into(&mut buffer), Ok((4, 2)));
    assert_eq!(&buffer, b"moreytes");
    producer.send(b"", 3).unwrap();
    assert_eq!(receiver.try_recv_into(&mut []), Ok(Some((0, 3))));
    assert_eq!(consumer.stats().unwrap().leases, 0);
    producer.close();
    assert_eq!(receiver.try_recv_into(&mut buffer), Err(Error::Closed));
}

#[test]
fn what_is_sent_is_received() {
    let (consumer, producer) = pair();
    producer.send(b"text", 1).unwrap();
    producer.send(&[], 2).unwrap();
    producer.sender.send_records(&[Tick { time: 7, price: 1.5 }], 3).unwrap();

    let message = consumer.receiver.recv_timeout(LONG).unwrap();
    assert_eq!((&message[..], message.type_id()), (&b"text"[..], 1));
    let message = consumer.recv().unwrap();
    assert_eq!((message.len(), message.type_id()), (0, 2));
    let message = consumer.recv().unwrap();
    assert_eq!(message.get::<Tick>().unwrap().time, 7);
    assert_eq!(message.read::<Tick>().unwrap(), Tick { time: 7, price: 1.5 });
    assert!(matches!(message.get::<u64>(), Err(Error::Format(_))));
}

#[test]
fn leases_end_in_any_order_and_thread() {
    let (consumer, producer) = pair();
    for i in 0..3u32 {
        producer.send(&i.to_ne_bytes(), i).unwrap();
    }
    let mut kept: Vec<Message> = (0..3).map(|_| consumer.recv().unwrap()).collect();
    assert_eq!(consumer.stats().unwrap().leases, 3);
    kept.remove(1);
    assert_eq!(consumer.stats().unwrap().leases, 2);
    let last = kept.pop().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || assert_eq!(last.read::<u32>().unwrap(), 2));
    });
    assert_eq!(consumer.stats().unwrap().leases, 1);
    drop(kept);
    assert_eq!(consumer.stats().unwrap().leases, 0);
}

#[test]
fn iteration_ends_where_the_peer_closed() {
    let (consumer, producer) = pair();
    for i in 1..=4u64 {
        producer.send(&i.to_ne_bytes(), 0).unwrap();
    }
    drop(producer);
    let sum: u64 = consumer.iter().map(|m| m.unwrap().read::<u64>().unwrap()).sum();
    assert_eq!(sum, 10);
    assert_eq!(consumer.recv().err(), Some(Error::Closed));
    consumer.close();
    assert_eq!(consumer.recv().err(), Some(Error::Cancelled));
    assert_eq!(consumer.send(b"x", 0).err(), Some(Error::Cancelled));
}

#[test]
fn a_peer_that_was_killed_is_no_orderly_end() {
    const PATH: &str = "TACHYON_TEST_PEER";
    if let Some(path) = std::env::var_os(PATH) {
        let bus = Bus::connect(path).unwrap();
        bus.send(b"last words", 0).unwrap();
        let _ = bus.recv(); // until it is killed
        unreachable!();
    }
    let folder = Folder::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_peer_that_was_killed_is_no_orderly_end"])
        .env(PATH, folder.bus())
        .spawn()
        .unwrap();
    let bus = Bus::listen_with(folder.bus(), &Options::default(), Some(LONG)).unwrap();
    assert_eq!(&bus.receiver.recv_timeout(LONG).unwrap()[..], b"last words");
    child.kill().unwrap();
    let items: Vec<_> = bus.iter().map(|m| m.err()).collect();
    assert_eq!(items, [Some(Error::PeerDead)]);
    child.wait().unwrap();
}

#[test]
fn time_outs() {
    let (consumer, producer) = pair_with(&Options { capacity: 4096, ..Default::default() });
    assert!(consumer.receiver.try_recv().unwrap().is_none());
    assert_eq!(consumer.receiver.recv_timeout(SHORT).err(), Some(Error::TimedOut));
    assert!(!consumer.receiver.wait_data(SHORT).unwrap());
    while producer.sender.try_send(&[0; 1000], 0).unwrap() {}
    assert_eq!(producer.sender.send_timeout(&[0; 1000], 0, SHORT), Err(Error::TimedOut));
    assert!(matches!(producer.send(&[0; 5000], 0), Err(Error::TooLarge(_))));
}

#[test]
fn slots_are_committed_or_nothing_is_sent() {
    let (consumer, mut producer) = pair();
    producer.sender.reserve(100).unwrap()[..5].copy_from_slice(b"never");
    let mut slot = producer.sender.reserve(100).unwrap();
    slot[..8].copy_from_slice(b"in place");
    slot.commit_size(8, 5).unwrap();
    let message = consumer.receiver.recv_timeout(LONG).unwrap();
    assert_eq!((&message[..], message.type_id()), (&b"in place"[..], 5));
    assert!(consumer.receiver.try_recv().unwrap().is_none());
}

#[test]
fn batches_and_records() {
    let (consumer, producer) = pair();
    let ticks: Vec<_> = (0..1000).map(|time| Tick { time, price: 0.5 }).collect();
    assert_eq!(producer.sender.send_records(&ticks, 9).unwrap(), 1000);

    let batch = consumer.receiver.recv_batch(10).unwrap();
    assert_eq!(batch.len(), 10);
    assert!(batch.iter().all(|(type_id, bytes)| type_id == 9 && bytes.len() == 16));
    assert_eq!(batch[3][..8], 3u64.to_ne_bytes());
    let receiver = &consumer.receiver;
    assert!(matches!(receiver.recv_records::<Tick>(8, Some(10)), Err(Error::Format(_))));
    assert!(matches!(receiver.recv_records::<u32>(8, None), Err(Error::TooLarge(_))));
    let mut next = 10;
    while next < 1000 {
        let run = receiver.recv_records::<Tick>(1 << 20, Some(9)).unwrap();
        assert_eq!(run[0].time, next);
        assert!(run.get(run.len()).is_none());
        for tick in run.iter() {
            assert_eq!(tick.time, next);
            next += 1;
        }
    }
    drop(batch);
    assert_eq!(consumer.stats().unwrap().leases, 0);
}

#[test]
fn arrays_describe_themselves() {
    let (consumer, mut producer) = pair();
    producer.sender.send_array(&[0f32, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3], 4).unwrap();
    let mut slot = producer.sender.reserve_array::<i16>(&[2, 2]).unwrap();
    slot.fill(7);
    slot.commit(0).unwrap();
    producer.sender.send_array::<f64>(&[], &[0, 3], 0).unwrap();
    producer.send(b"no array", 0).unwrap();

    let message = consumer.receiver.recv_timeout(LONG).unwrap();
    let array = message.array::<f32>().unwrap();
    assert_eq!((array.shape(), array[5]), (&[2, 3][..], 5.0));
    assert_eq!(array.as_ptr() as usize % 64, 0);
    let error = message.array::<i32>().err().unwrap();
    assert_eq!(error.to_string(), "the elements are <f4, not <i4");
    assert_eq!(consumer.recv().unwrap().array::<i16>().unwrap()[..], [7; 4]);
    assert_eq!(consumer.recv().unwrap().array::<f64>().unwrap().shape(), [0, 3]);
    assert!(matches!(consumer.recv().unwrap().array::<f64>(), Err(Error::Format(_))));
    let too_many = producer.sender.reserve_array::<u8>(&[1; 65]);
    assert!(matches!(too_many.err(), Some(Error::TooLarge(_))));
}

#[test]
fn kept_messages_that_fill_the_ring_are_an_error() {
    let (consumer, producer) = pair_with(&Options { capacity: 4096, ..Default::default() });
    let sender = thread::spawn(move || while producer.send(&[0; 1000], 0).is_ok() {});
    let mut kept = Vec::new();
    let error = loop {
        match consumer.receiver.recv_timeout(LONG) {
            Ok(message) => kept.push(message),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Leases(_)), "{error}");
    consumer.close();
    assert_eq!(kept[0].len(), 1000); // readable after the end
    sender.join().unwrap();
}

#[test]
fn waiting_for_several_buses() {
    let ((one, _one), (two, other)) = (pair(), pair());
    let receivers = [&one.receiver, &two.receiver];
    assert!(tachyon::wait(&receivers, Some(SHORT)).unwrap().is_empty());
    other.send(b"x", 0).unwrap();
    assert_eq!(tachyon::wait(&receivers, Some(LONG)).unwrap(), [1]);
    assert!(!two.receiver.arm().unwrap());
    assert!(one.receiver.arm().unwrap());
    assert!(one.receiver.fds().unwrap().data >= 0);
}

#[test]
fn a_wait_ends_when_another_thread_closes_the_bus() {
    let (consumer, _producer) = pair();
    let closer = consumer.closer();
    let closing = thread::spawn(move || closer.close());
    assert_eq!(consumer.receiver.recv_timeout(LONG).err(), Some(Error::Cancelled));
    closing.join().unwrap();
}

#[test]
fn calls() {
    let (caller, server) = rpc_pair();
    let serving = thread::spawn(move || {
        let mut dispatcher = Dispatcher::new();
        dispatcher
            .on(1, |request| Ok([b"re: ", &request[..]].concat()))
            .on(2, |_| Err("no way".into()))
            .on(3, |_| Ok(vec![0; 2 << 20]));
        server.serve_forever(&mut dispatcher)
    });
    assert_eq!(&caller.call(b"hello", 1).unwrap()[..], b"re: hello");
    let (first, second) = (caller.submit(b"a", 1).unwrap(), caller.submit(b"b", 1).unwrap());
    assert_eq!(&second.wait().unwrap()[..], b"re: b");
    assert_eq!(&first.wait_timeout(LONG).unwrap()[..], b"re: a");
    let code = |type_id| match caller.call_timeout(b"", type_id, LONG) {
        Err(Error::Rpc { code, .. }) => code,
        _ => 0,
    };
    assert_eq!(code(2), tachyon::sys::TACHYON_RPC_EXCEPTION);
    assert_eq!(code(3), tachyon::sys::TACHYON_RPC_TOO_LARGE);
    assert_eq!(code(4), tachyon::sys::TACHYON_RPC_UNKNOWN_TYPE);
    assert_eq!(caller.counters().unwrap().failures, 3);
    drop(first);
    drop(caller);
    serving.join().unwrap().unwrap();
}

#[test]
fn what_was_forgotten_is_no_danger() {
    let (consumer, mut producer) = pair();
    std::mem::forget(producer.sender.reserve(100).unwrap());
    assert!(matches!(producer.send(b"x", 0), Err(Error::Busy(_))));
    consumer.send(b"y", 0).unwrap();
    std::mem::forget(producer.recv().unwrap());
    drop(producer); // with a lease out
    assert_eq!(consumer.recv().map(drop), Err(Error::Closed));
}

#[test]
fn requests_are_answered_in_any_order() {
    let (caller, server) = rpc_pair();
    let (first, second) = (caller.submit(b"1", 7).unwrap(), caller.submit(b"2", 7).unwrap());
    let (one, two) = (server.serve().unwrap(), server.serve_timeout(LONG).unwrap());
    two.fail(42, "not today").unwrap();
    one.reply(b"one", 8).unwrap();
    assert_eq!(second.wait().err(), Some(Error::Rpc { code: 42, text: "not today".into() }));
    let reply = first.wait().unwrap();
    assert_eq!((&reply[..], reply.type_id()), (&b"one"[..], 8));
    assert_eq!(caller.call_timeout(b"", 7, SHORT).err(), Some(Error::TimedOut));
    drop((one, two));
    drop(server);
    assert_eq!(caller.call(b"", 7).err(), Some(Error::Closed));
}

#[test]
fn a_listener_accepts_several_and_refuses_another_kind() {
    let folder = Folder::new();
    let listener = Listener::bind(folder.bus()).unwrap();
    let path = folder.bus();
    let connecting = thread::spawn(move || {
        let refused = Caller::connect(&path).err();
        assert!(matches!(refused, Some(Error::Protocol(_))), "{refused:?}");
        (0..3).map(|_| Bus::connect(&path).unwrap()).collect::<Vec<_>>()
    });
    let accepted: Vec<_> = (0..3).map(|_| listener.accept_timeout(LONG).unwrap()).collect();
    let connected = connecting.join().unwrap();
    accepted[2].send(b"third", 0).unwrap();
    assert_eq!(
        tachyon::wait(&connected.iter().map(|b| &b.receiver).collect::<Vec<_>>(), Some(LONG)),
        Ok(vec![2])
    );
    assert!(matches!(Listener::bind(folder.bus()).err(), Some(Error::Os(98, _))));
}

#[test]
fn a_reply_is_copied_into_a_buffer_if_it_fits() {
    let (caller, server) = rpc_pair();
    let serving = thread::spawn(move || {
        let mut dispatcher = Dispatcher::new();
        dispatcher
            .on(1, |request| Ok([b"re: ", &request[..]].concat()))
            .on(2, |_| Err("no way".into()));
        server.serve_forever(&mut dispatcher)
    });
    let mut buffer = *b"oldbytes";
    assert_eq!(caller.call_into(b"you", 1, &mut buffer), Ok((7, 0)));
    assert_eq!(&buffer, b"re: yous");
    assert!(matches!(caller.call_into(b"every", 1, &mut buffer), Err(Error::TooLarge(_))));
    let code = tachyon::sys::TACHYON_RPC_EXCEPTION;
    let failed = caller.call_into_timeout(b"", 2, &mut buffer[..2], LONG);
    assert_eq!(failed, Err(Error::Rpc { code, text: "no".into() })); // what fits of the words
    assert_eq!(caller.call_into_timeout(b"", 1, &mut buffer, SHORT * 30_000), Ok((4, 0)));
    assert_eq!(caller.counters().unwrap().outstanding, 0);
    drop(caller);
    serving.join().unwrap().unwrap();
}

#[test]
fn requests_and_replies_are_written_in_place() {
    let (caller, server) = rpc_pair();
    assert!(server.try_serve().unwrap().is_none());
    caller.reserve(100).unwrap()[..5].copy_from_slice(b"never");
    let mut slot = caller.reserve(100).unwrap();
    assert!(matches!(caller.reserve(100).err(), Some(Error::Busy(_)))); // one at a time
    assert!(matches!(caller.submit(b"x", 1).err(), Some(Error::Busy(_))));
    slot[..8].copy_from_slice(b"in place");
    let (call, other) = (slot.commit_size(8, 7).unwrap(), caller.submit(b"x", 8).unwrap());
    let (request, second) = (server.serve().unwrap(), server.try_serve().unwrap().unwrap());
    assert_eq!((&request[..], request.type_id()), (&b"in place"[..], 7));
    request.reserve_reply(50).unwrap()[0] = 1; // dropped: nothing is sent
    let mut slot = request.reserve_reply(50).unwrap();
    assert!(matches!(second.reserve_reply(50).err(), Some(Error::Busy(_))));
    slot[..5].copy_from_slice(b"reply");
    slot.commit_size(5, 9).unwrap();
    second.reserve_reply(0).unwrap().commit(0).unwrap();
    let reply = call.wait().unwrap();
    assert_eq!((&reply[..], reply.type_id()), (&b"reply"[..], 9));
    assert_eq!(other.wait().unwrap().len(), 0);
    let mut slot = caller.reserve(100).unwrap();
    caller.close();
    slot[99] = 1; // still ours
    assert_eq!(slot.commit(1).err(), Some(Error::Cancelled));
}

#[test]
fn closers_end_the_waits_of_other_threads() {
    let folder = Folder::new();
    let listener = Listener::bind(folder.bus()).unwrap();
    let closing = thread::spawn({
        let closer = listener.closer();
        move || closer.close()
    });
    assert_eq!(listener.accept_timeout(LONG).err(), Some(Error::Cancelled));
    closing.join().unwrap();
    assert_eq!(listener.as_raw_fd(), -1);

    let servers = ServerListener::bind(folder.bus()).unwrap(); // the path is free again
    let path = folder.bus();
    let connecting = thread::spawn(move || [&path; 2].map(|path| Caller::connect(path).unwrap()));
    let mut accepted = [servers.accept().unwrap(), servers.accept_timeout(LONG).unwrap()];
    let callers = connecting.join().unwrap();
    let closer = servers.closer();
    drop(servers);
    closer.close(); // it is gone: nothing happens

    let call = callers[0].submit(b"", 1).unwrap();
    let served: Vec<_> = accepted.iter().map(|server| server.try_serve().unwrap()).collect();
    assert_eq!(served.iter().flatten().count(), 1);
    drop(served);
    accepted.sort_by_key(|server| server.counters().unwrap().requests);
    let [idle, busy] = accepted;
    assert!(busy.arm().unwrap() && busy.as_raw_fd() >= 0);
    let closing = thread::spawn({
        let (server, caller) = (busy.closer(), callers[0].closer());
        move || {
            server.close();
            caller.close();
        }
    });
    assert_eq!(busy.serve_forever(&mut Dispatcher::new()), Ok(()));
    closing.join().unwrap();
    assert_eq!(call.wait_timeout(LONG).err(), Some(Error::Cancelled));
    assert_eq!(busy.as_raw_fd(), -1);
    drop(idle);
    assert_eq!(callers[1].call(b"", 1).err(), Some(Error::Closed));
}

#[test]
fn what_is_too_long_panics_and_what_is_not_aligned_is_told() {
    #[repr(C, align(16))]
    #[derive(Clone, Copy)]
    struct Wide([u64; 2]);
    // SAFETY: two numbers.
    unsafe impl Record for Wide {}

    let (consumer, mut producer) = pair();
    let slot = producer.sender.reserve(100).unwrap();
    let commit = std::panic::AssertUnwindSafe(|| slot.commit_size(101, 0));
    assert!(std::panic::catch_unwind(commit).is_err());
    let begin = std::time::Instant::now();
    let late = consumer.receiver.recv_into_timeout(&mut [], SHORT);
    assert_eq!((late, begin.elapsed() >= SHORT), (Err(Error::TimedOut), true));

    let (caller, server) = rpc_pair();
    let call = caller.submit(&[1; 16], 1).unwrap();
    let request = server.serve().unwrap();
    let aligned = request.as_ptr() as usize % 16 == 0;
    assert_eq!(request.get::<Wide>().is_ok_and(|wide| wide.0[0] != 0), aligned);
    assert_eq!(caller.counters().unwrap().outstanding, 1);
    drop(call);
    assert_eq!(caller.counters().unwrap().outstanding, 0);
}

#[test]
fn a_signal_leaves_no_request_unanswered() {
    extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn pthread_self() -> usize;
        fn pthread_kill(thread: usize, number: i32) -> i32;
    }
    extern "C" fn ignore(_: i32) {}
    const SIGUSR1: i32 = if cfg!(target_os = "macos") { 30 } else { 10 };

    let folder = Folder::new();
    let options = Options { reply_capacity: 4096, ..Default::default() };
    // SAFETY: the handler does nothing.
    unsafe { signal(SIGUSR1, ignore) };
    let asked = AtomicU32::new(0);
    let (path, (tell, told)) = (folder.bus(), std::sync::mpsc::channel());
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let server = Server::listen_with(path, &options, Some(LONG)).unwrap();
            // SAFETY: a thread may ask for its own name.
            tell.send(unsafe { pthread_self() }).unwrap();
            let mut dispatcher = Dispatcher::new();
            dispatcher.on(1, |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(vec![0; 1000])
            });
            server.serve_forever(&mut dispatcher)
        });
        let caller = Caller::connect_with(folder.bus(), &options, Some(LONG)).unwrap();
        let thread = told.recv().unwrap();
        let strike = || {
            for _ in 0..20 {
                // SAFETY: the thread is there, until the caller is closed.
                unsafe { pthread_kill(thread, SIGUSR1) };
                thread::sleep(SHORT);
            }
        };
        strike(); // while it waits for a request
        let calls: Vec<_> = (0..8).map(|_| caller.submit(b"", 1).unwrap()).collect();
        while asked.load(Ordering::Relaxed) < 4 {
            thread::sleep(SHORT); // there is no room for a fourth reply
        }
        strike();
        for call in &calls {
            assert_eq!(call.wait_timeout(LONG).map(|reply| reply.len()), Ok(1000));
        }
        caller.close();
        serving.join().unwrap().unwrap();
    });
}
