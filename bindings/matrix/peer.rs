//! matrix-peer ROLE MODE PATH COUNT BLOCK: one side of the matrix, in Rust. See run-matrix.

use tachyon::{Bus, Caller, Element, Error, Message, Record, Server};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LARGEST: u32 = 1_048_448;
const RECORD_TYPE: u32 = 7;
const FAILING_TYPE: u32 = 9;
const FAILING_CODE: u32 = 42;
const FAILING_TEXT: &str = "not today";

struct Rule {
    size: usize,
    start: usize,
    type_id: u32,
    dtype: u32,
    shape: [u64; 3],
}

fn mix(number: u64) -> u64 {
    let mut z = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn rule_of(number: u64) -> Rule {
    let r = mix(number);
    let size = (r >> 16) as u32 & ((1 << ((r >> 10) % 13)) - 1);
    Rule {
        size: if r % 1024 == 0 { LARGEST } else { size } as usize,
        start: (r >> 40) as usize & 0xf_ffff,
        type_id: (r >> 20) as u32,
        dtype: (r % 4) as u32,
        shape: [(r >> 8) % 5, (r >> 16) % 7, (r >> 24) % 33],
    }
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq)]
struct Numbers {
    number: u64,
    random: u64,
    half: f64,
}

// SAFETY: three numbers, without padding.
unsafe impl Record for Numbers {}

fn record_of(number: u64) -> Numbers {
    Numbers { number, random: mix(number), half: number as f64 / 2.0 }
}

/// Element `i` of an array.
fn element_of(rule: &Rule, i: usize) -> u8 {
    ((rule.start + i) % 120) as u8
}

fn expect(good: bool, what: &str, number: u64) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(format!("message {number}: {what}").into())
}

fn send_stream(bus: &mut Bus, count: u64, block: &[u8]) -> Result<()> {
    for i in 0..count {
        let rule = rule_of(i);
        let payload = &block[rule.start..][..rule.size];
        if i % 2 == 1 {
            bus.send(payload, rule.type_id)?;
        } else {
            let mut slot = bus.sender.reserve(rule.size)?;
            slot.copy_from_slice(payload);
            slot.commit(rule.type_id)?;
        }
    }
    Ok(())
}

fn receive_stream(bus: &Bus, count: u64, block: &[u8]) -> Result<()> {
    let mut received = 0;
    for message in bus.iter() {
        let (message, rule) = (message?, rule_of(received));
        expect(message.type_id() == rule.type_id, "type", received)?;
        expect(message[..] == block[rule.start..][..rule.size], "bytes", received)?;
        received += 1;
    }
    expect(received == count, "the end", received)
}

fn receive_records(bus: &Bus, count: u64) -> Result<()> {
    let mut i = 0;
    while i < count {
        let run = bus.receiver.recv_records::<Numbers>(5000, Some(RECORD_TYPE))?;
        for record in run.iter() {
            expect(*record == record_of(i), "record", i)?;
            i += 1;
        }
    }
    Ok(())
}

fn send_array<T: Element + From<u8>>(bus: &mut Bus, rule: &Rule) -> Result<()> {
    let mut array = bus.sender.reserve_array::<T>(&rule.shape)?;
    for (i, element) in array.iter_mut().enumerate() {
        *element = element_of(rule, i).into();
    }
    Ok(array.commit(0)?)
}

fn check_array<T: Element + From<u8> + PartialEq>(
    message: &Message<'_>,
    rule: &Rule,
    number: u64,
) -> Result<()> {
    let array = message.array::<T>()?;
    expect(array.shape() == rule.shape, "shape", number)?;
    let good = array.iter().enumerate().all(|(i, element)| *element == element_of(rule, i).into());
    expect(good, "elements", number)
}

fn send_arrays(bus: &mut Bus, count: u64) -> Result<()> {
    for i in 0..count {
        let rule = rule_of(i);
        match rule.dtype {
            0 => send_array::<f32>(bus, &rule),
            1 => send_array::<f64>(bus, &rule),
            2 => send_array::<i16>(bus, &rule),
            _ => send_array::<u8>(bus, &rule),
        }?;
    }
    Ok(())
}

fn receive_arrays(bus: &Bus, count: u64) -> Result<()> {
    for i in 0..count {
        let (rule, message) = (rule_of(i), bus.recv()?);
        match rule.dtype {
            0 => check_array::<f32>(&message, &rule, i),
            1 => check_array::<f64>(&message, &rule, i),
            2 => check_array::<i16>(&message, &rule, i),
            _ => check_array::<u8>(&message, &rule, i),
        }?;
    }
    Ok(())
}

fn call(path: &str, count: u64, block: &[u8]) -> Result<()> {
    let caller = Caller::connect(path)?;
    for i in 0..count {
        let rule = rule_of(i);
        let request = &block[rule.start..][..rule.size % 4096];
        let failing = i % 97 == 0;
        match caller.call(request, if failing { FAILING_TYPE } else { 1 }) {
            Ok(reply) => {
                expect(!failing, "it must fail", i)?;
                expect(reply.iter().map(|b| b ^ 0x5a).eq(request.iter().copied()), "bytes", i)?;
            }
            Err(Error::Rpc { code, text }) => {
                expect(failing && code == FAILING_CODE && text == FAILING_TEXT, "failure", i)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn serve(path: &str, count: u64) -> Result<()> {
    let server = Server::listen(path)?;
    let mut served = 0;
    loop {
        let request = match server.serve() {
            Err(Error::Closed) => return expect(served == count, "the end", served),
            request => request?,
        };
        served += 1;
        if request.type_id() == FAILING_TYPE {
            request.fail(FAILING_CODE, FAILING_TEXT)?;
        } else {
            request.reply(&request.iter().map(|b| b ^ 0x5a).collect::<Vec<_>>(), 0)?;
        }
    }
}

/// Until the other one is killed.
fn flow(bus: &Bus, sends: bool, block: &[u8]) -> Result<()> {
    loop {
        let result = if sends { bus.send(&block[..1000], 0) } else { bus.recv().map(drop) };
        match result {
            Err(Error::PeerDead) => return Ok(()),
            result => result?,
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, mode, path, count, block] = &arguments[..] else {
        return Err("ROLE MODE PATH COUNT BLOCK".into());
    };
    let (count, block) = (count.parse()?, std::fs::read(block)?);
    let consumer = role == "consumer";
    if mode == "rpc" {
        if consumer { serve(path, count) } else { call(path, count, &block) }?;
    } else {
        let mut bus = if consumer { Bus::listen(path) } else { Bus::connect(path) }?;
        match (mode.as_str(), consumer) {
            ("stream", false) => send_stream(&mut bus, count, &block),
            ("stream", true) => receive_stream(&bus, count, &block),
            ("records", false) => {
                let records: Vec<_> = (0..count).map(record_of).collect();
                let sent = bus.sender.send_records(&records, RECORD_TYPE)? as u64;
                expect(sent == count, "records", sent)
            }
            ("records", true) => receive_records(&bus, count),
            ("arrays", false) => send_arrays(&mut bus, count),
            ("arrays", true) => receive_arrays(&bus, count),
            _ => flow(&bus, !consumer, &block),
        }?;
    }
    println!("ok");
    Ok(())
}
