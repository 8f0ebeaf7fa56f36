//! Requests sent ahead on one connection are decided one after the other, with the responses in
//! order.

use std::time::{Duration, Instant};

use crate::{http1::Client, machine::Machine, tables::limited};

#[test]
fn four_pipelined_are_answered_a_tenth_of_a_second_apart() {
    let (stage, machine) = (limited("10r/s", "burst: 20"), Machine::watched());
    let mut client = Client::connect(stage.weir.address);
    let begun = Instant::now();
    let request = |number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send((0..4).map(request).collect::<String>().as_bytes()).expect("an open connection");
    let mut late = Vec::new();
    for number in 0..4 {
        assert_eq!(client.answer("GET").expect("an answer").status, 200);
        let (came, slot) = (begun.elapsed(), Duration::from_millis(100) * number);
        assert!(came + Duration::from_millis(1) >= slot, "{number}: {came:?}");
        late.push(came.saturating_sub(slot));
    }
    machine.forgives(late);
    let seen = stage.log.lock().expect("no panic");
    assert_eq!(
        seen.iter().map(|seen| seen.head.second()).collect::<Vec<_>>(),
        ["/0", "/1", "/2", "/3"]
    );
}

#[test]
fn pipelined_reject_does_not_disturb_neighbours() {
    let stage = limited("1r/d", "burst: 1, nodelay: true");
    let mut client = Client::connect(stage.weir.address);
    client
        .send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3).as_slice())
        .expect("an open connection");
    client.send(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").expect("an open connection");
    let statuses = [(); 4].map(|()| client.answer("GET").expect("an answer").status);
    assert_eq!(statuses, [200, 200, 503, 200]);
}
