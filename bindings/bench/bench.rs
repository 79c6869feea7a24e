//! bench ROLE PATH: what `tachyon bench languages` measures, in Rust. See bindings/bench/README.md.

use std::ffi::CString;
use std::io::{BufRead, Write};
use std::ptr;
use std::time::Instant;

use tachyon::{sys, Bus, Options, Record};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Payload = [u64; 4];

/// Records of one call: a quarter of their ring.
const TURN: usize = 16384;
const RING: u64 = 4 << 20;
const PAIRS: usize = 1000;

#[repr(C)]
#[derive(Clone, Copy)]
struct Tick {
    time: u64,
    id: u64,
    price: f64,
    size: f64,
}

// SAFETY: four numbers, without padding.
unsafe impl Record for Tick {}

fn since(begin: Instant) -> Option<f64> {
    Some(begin.elapsed().as_nanos() as f64)
}

fn bytes(payload: &Payload) -> &[u8] {
    // SAFETY: numbers, without padding.
    unsafe { std::slice::from_raw_parts(payload.as_ptr().cast(), std::mem::size_of::<Payload>()) }
}

fn ping(bus: &Bus, count: usize) -> Result<Option<f64>> {
    let mut payload = Payload::default();
    let begin = Instant::now();
    for _ in 0..count {
        bus.send(bytes(&payload), 0)?;
        payload = bus.recv()?.read()?;
    }
    Ok(since(begin))
}

fn echo(bus: &Bus, count: usize) -> Result<Option<f64>> {
    for _ in 0..count {
        let payload = bus.recv()?.read()?;
        bus.send(bytes(&payload), 0)?;
    }
    Ok(None)
}

fn produce(bus: &Bus, count: usize) -> Result<Option<f64>> {
    let payload = Payload::default();
    for _ in 0..count {
        bus.send(bytes(&payload), 0)?;
    }
    Ok(None)
}

fn consume(bus: &Bus, count: usize) -> Result<Option<f64>> {
    bus.recv()?.read::<Payload>()?;
    let begin = Instant::now();
    for _ in 1..count {
        bus.recv()?.read::<Payload>()?;
    }
    Ok(since(begin))
}

fn produce_records(bus: &Bus, count: usize) -> Result<Option<f64>> {
    let ticks = vec![Tick { time: 1, id: 1, price: 0.5, size: 1.0 }; TURN];
    let mut left = count;
    while left > 0 {
        left -= bus.sender.send_records(&ticks[..left.min(TURN)], 0)?;
    }
    Ok(None)
}

fn consume_records(bus: &Bus, count: usize) -> Result<Option<f64>> {
    let (mut begin, mut sum, mut left) = (None, 0.0, count);
    while left > 0 {
        let run = bus.receiver.recv_records::<Tick>(left.min(TURN), None)?;
        begin.get_or_insert_with(Instant::now);
        sum += run.iter().map(|tick| tick.price).sum::<f64>();
        left -= run.len();
    }
    if sum != 0.5 * count as f64 {
        return Err("the prices do not add up".into());
    }
    Ok(begin.and_then(since))
}

/// A bus, and the handle under it.
struct End {
    bus: Bus,
    raw: *mut sys::tachyon_bus,
}

// SAFETY: it is used by one thread, that which opened the other end.
unsafe impl Send for End {}

type Open = unsafe extern "C" fn(
    *mut *mut sys::tachyon_bus,
    *const std::ffi::c_char,
    *const sys::tachyon_options,
    i64,
) -> std::ffi::c_int;

fn open(open: Open, path: &str) -> End {
    let (path, mut raw) = (CString::new(path).expect("a path"), ptr::null_mut());
    // SAFETY: all pointers are valid during the call.
    let r = unsafe { open(&mut raw, path.as_ptr(), ptr::null(), -1) };
    assert!(r == 0, "no bus: {r}");
    // SAFETY: it is new.
    End { bus: unsafe { Bus::from_raw(raw) }, raw }
}

fn pairs(from: &Bus, to: &Bus, count: usize) -> Result<f64> {
    let mut payload = [0; 32];
    let begin = Instant::now();
    for _ in 0..count {
        from.send(&payload, 0)?;
        to.receiver.try_recv_into(&mut payload)?.ok_or("it did not arrive")?;
    }
    Ok(begin.elapsed().as_nanos() as f64)
}

fn raw_pairs(from: &End, to: &End, count: usize) -> Result<f64> {
    let mut payload = Payload::default();
    let size = std::mem::size_of::<Payload>();
    let at: *mut std::ffi::c_void = payload.as_mut_ptr().cast();
    let begin = Instant::now();
    for _ in 0..count {
        // SAFETY: the payload and both ends are there.
        let good = unsafe {
            sys::tachyon_bus_send(from.raw, at, size, 0, -1) == 0
                && sys::tachyon_bus_recv_copy(to.raw, at, size, ptr::null_mut(), 0) == size as i64
        };
        if !good {
            return Err("the C functions fail".into());
        }
    }
    Ok(begin.elapsed().as_nanos() as f64)
}

fn calls(from: &mut End, to: &mut End, count: usize) -> Result<String> {
    let (mut binding, mut raw, mut left) = (0.0, 0.0, count);
    while left > 0 {
        let n = left.min(PAIRS);
        binding += pairs(&from.bus, &to.bus, n)?;
        raw += raw_pairs(from, to, n)?;
        std::mem::swap(from, to);
        left -= n;
    }
    Ok(format!("{:.3} {:.3}", binding / count as f64, raw / count as f64))
}

/// Does rounds as long as there are lines that tell their size.
fn rounds(mut round: impl FnMut(usize) -> Result<String>) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let answer = round(line?.parse()?)?;
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn run_calls(path: &str) -> Result<()> {
    let (mut a, mut b) = std::thread::scope(|scope| {
        let listener = scope.spawn(|| open(sys::tachyon_bus_listen, path));
        (open(sys::tachyon_bus_connect, path), listener.join().expect("a listener"))
    });
    rounds(|count| calls(&mut a, &mut b, count))
}

fn run(bus: Bus, round: fn(&Bus, usize) -> Result<Option<f64>>) -> Result<()> {
    rounds(|count| {
        Ok(round(&bus, count)?.map_or("done".into(), |elapsed_ns| elapsed_ns.to_string()))
    })
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, path] = &arguments[..] else {
        return Err("ROLE PATH".into());
    };
    let large = Options { capacity: RING, ..Default::default() };
    match role.as_str() {
        "ping" => run(Bus::connect(path)?, ping),
        "echo" => run(Bus::listen(path)?, echo),
        "produce" => run(Bus::connect(path)?, produce),
        "consume" => run(Bus::listen(path)?, consume),
        "records-produce" => run(Bus::connect(path)?, produce_records),
        "records-consume" => run(Bus::listen_with(path, &large, None)?, consume_records),
        "calls" => run_calls(path),
        _ => Err(format!("{role} is no role").into()),
    }
}
