//! A node that is asked for its lists and need not be honest.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, extract::Request};
use ledger::testing::{Session, consortium};
use tokio::net::TcpListener;

use super::*;

/// A node that answers as `page` says to `from` and how often it was asked before; and how often it was asked.
async fn node(page: impl Fn(u64, u64) -> Value + Clone + Send + Sync + 'static) -> (Client, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let app = Router::new().fallback(move |request: Request| {
        let from = request.uri().query().and_then(|query| query.strip_prefix("from=")?.parse().ok());
        let answer = page(from.expect("it says from where"), counted.fetch_add(1, Ordering::Relaxed));
        async move { axum::Json(answer) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Client::new(&url, None).expect("a client"), asked)
}

/// So many entries of one consortium, each in a block of its own.
fn lines(count: u64) -> (Digest, Vec<Value>) {
    let consortium = consortium(4);
    let entry = Session::in_eu(&consortium, 0).created();
    let line = |index: u64| json!({"index": index, "height": index + 1, "id": entry.id(), "entry": entry});
    (consortium.id(), (0..count).map(line).collect())
}

async fn codes(page: impl Fn(u64, u64) -> Value + Clone + Send + Sync + 'static) -> [Option<String>; 2] {
    let (client, _) = node(page).await;
    let entries = entries(&client, Digest::ZERO, BlockHeight::new(9)).await.err();
    [entries, awards_told(&client, 9).await.err()].map(|failure| Some(failure?.code.to_string()))
}

#[tokio::test]
async fn a_node_whose_pages_do_not_lead_to_an_end_is_not_read_on() {
    let refused = [Some("N-161".to_owned()), Some("N-161".to_owned())];
    for (next, size) in [(0, 9), (10, 9), (0, u64::MAX)] {
        let stands = move |_, _| json!({"entries": [], "awards": [], "next": next, "size": size});
        assert_eq!(codes(stands).await, refused, "{next} of {size}");
    }
    let shrinks = |from: u64, before: u64| {
        let lines: Vec<_> = lines(9).1.drain(from as usize..=from as usize).collect();
        json!({"entries": lines, "awards": [], "next": from + 1, "size": 20 - before.min(12)})
    };
    let (client, _) = node(shrinks).await;
    let shrunk = entries(&client, lines(0).0, BlockHeight::new(9)).await.expect_err("there were more before");
    assert_eq!(shrunk.code, "N-161");
    assert_eq!(codes(|_, _| json!({"entries": [], "awards": []})).await, refused, "nothing is said of an end");
}

#[tokio::test]
async fn an_entry_that_is_left_out_or_comes_twice_ends_the_reading() {
    let all = lines(3).1;
    for places in [vec![], vec![0, 1], vec![0, 1, 1], vec![1, 0, 2], vec![0, 1, 2, 2]] {
        let given: Vec<Value> = places.iter().map(|place: &usize| all[*place].clone()).collect();
        let (client, asked) = node(move |_, _| json!({"entries": given, "next": 3, "size": u64::MAX})).await;
        let failure = entries(&client, lines(0).0, BlockHeight::new(9)).await.expect_err("not each of them once");
        assert_eq!((&*failure.code, asked.load(Ordering::Relaxed)), ("N-161", 1), "{places:?}");
    }
}

#[tokio::test]
async fn a_list_that_grows_while_it_is_read_is_read_to_where_it_ended_at_first() {
    let growing = |from: u64, before: u64| {
        let line = lines(from + 1).1.pop();
        json!({"entries": [line], "awards": [], "next": from + 1, "size": 3 + before})
    };
    let (client, asked) = node(growing).await;
    let all = entries(&client, lines(0).0, BlockHeight::new(9)).await.expect("an honest node");
    assert_eq!((all.len(), asked.load(Ordering::Relaxed)), (3, 3));
    assert_eq!(awards_told(&client, 2).await.expect("none"), Vec::new());
    assert_eq!(asked.load(Ordering::Relaxed), 5, "no further than the entries");
}

#[tokio::test]
async fn entries_are_read_up_to_the_height_that_the_node_stated() {
    let endless = |from: u64, _| json!({"entries": [lines(from + 1).1.pop()], "next": from + 1, "size": u64::MAX});
    let (client, asked) = node(endless).await;
    let all = entries(&client, lines(0).0, BlockHeight::new(2)).await.expect("an honest node");
    assert_eq!((all.len(), asked.load(Ordering::Relaxed)), (2, 3));
}
