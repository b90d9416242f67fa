use serde_json::json;

use super::*;

fn parse(endpoint: Endpoint, body: &Value) -> Result<Wanted, Refusal> {
    Wanted::parse(endpoint, body.to_string().as_bytes(), || 99)
}

fn chat_with(name: &str, value: Value) -> Result<Wanted, Refusal> {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
    body[name] = value;
    parse(Endpoint::Chat, &body)
}

fn refused_parameter(outcome: Result<Wanted, Refusal>) -> &'static str {
    match outcome {
        Err(Refusal::ParameterInvalid { name, .. }) => name,
        other => panic!("not refused for a parameter: {other:?}"),
    }
}

#[test]
fn a_chat_needs_no_more_than_model_and_messages() {
    let wanted = chat_with("stream", json!(null)).expect("valid");
    assert_eq!(wanted.input, Input::Chat(vec![ChatMessage { role: "user".into(), content: "hello".into() }]));
    assert_eq!((wanted.stream, wanted.pace_ms, wanted.sampling.seed), (false, 0, 99));
    assert_eq!((wanted.sampling.temperature_ppm, wanted.sampling.top_p_ppm), (1_000_000, 1_000_000));
    assert_eq!(wanted.sampling.max_tokens.get(), MAX_TOKENS_DEFAULT);
}

#[test]
fn every_parameter_arrives() {
    let body = json!({
        "model": "tiny", "prompt": [3, 1, 2], "max_tokens": 7, "temperature": 0.7, "top_p": 0.5, "seed": 11,
        "stop": ["a", "b"], "stream": true, "stream_options": {"include_usage": true}, "return_token_ids": true,
        "pace_ms": 25, "ignore_eos": true, "n": 1, "user": "u", "presence_penalty": 0, "echo": false,
    });
    let wanted = parse(Endpoint::Completions, &body).expect("valid");
    let sampling = Sampling {
        max_tokens: TokenCount::new(7),
        temperature_ppm: 700_000,
        top_p_ppm: 500_000,
        seed: 11,
        ignore_eos: true,
        stop: vec!["a".into(), "b".into()],
    };
    let expected = Wanted {
        model: "tiny".into(),
        input: Input::Tokens(vec![3, 1, 2]),
        sampling,
        pace_ms: 25,
        stream: true,
        include_usage: true,
        return_token_ids: true,
    };
    assert_eq!(wanted, expected);
}

#[test]
fn the_newer_name_of_max_tokens_counts() {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5});
    body["max_completion_tokens"] = json!(9);
    assert_eq!(parse(Endpoint::Chat, &body).expect("valid").sampling.max_tokens.get(), 9);
}

#[test]
fn content_may_come_in_text_parts_and_in_no_others() {
    let parts = json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    let wanted = chat_with("messages", parts).expect("valid");
    assert_eq!(wanted.input, Input::Chat(vec![ChatMessage { role: "user".into(), content: "ab".into() }]));
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    assert_eq!(refused_parameter(chat_with("messages", image)), "messages");
}

#[test]
fn an_unknown_parameter_is_refused_by_name() {
    let refusal = chat_with("temprature", json!(1)).expect_err("misspelt");
    assert_eq!((refusal.code(), refusal), ("N-504", Refusal::ParameterUnknown { name: "temprature".into() }));
    let refusal = chat_with("prompt", json!("x")).expect_err("of the other endpoint");
    assert_eq!(refusal, Refusal::ParameterUnknown { name: "prompt".into() });
}

#[test]
fn values_out_of_range_and_of_another_type_are_refused_by_name() {
    let cases = [
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("temperature", json!("warm")),
        ("top_p", json!(0)),
        ("top_p", json!(1.5)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1_u64 << 40)),
        ("seed", json!(1.5)),
        ("stop", json!(7)),
        ("stream", json!("yes")),
        ("stream_options", json!({"include": true})),
        ("pace_ms", json!(60_001)),
        ("n", json!(2)),
        ("presence_penalty", json!(0.5)),
        ("logprobs", json!(true)),
        ("messages", json!([])),
        ("messages", json!("hello")),
        ("model", json!(null)),
    ];
    for (name, value) in cases {
        assert_eq!(refused_parameter(chat_with(name, value.clone())), name, "{value}");
    }
}

#[test]
fn one_prompt_for_each_request() {
    for prompt in [json!(["a", "b"]), json!([]), json!([[1, 2], [3]])] {
        let outcome = parse(Endpoint::Completions, &json!({"model": "m", "prompt": prompt}));
        assert_eq!(refused_parameter(outcome), "prompt", "{prompt}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    for body in ["", "{", "[]", "7", &"[".repeat(10_000)] {
        let refusal = Wanted::parse(Endpoint::Chat, body.as_bytes(), || 0).expect_err("no object");
        assert_eq!(refusal.code(), "N-503");
    }
}

#[test]
fn a_header_narrows_the_regions_and_never_widens_them() {
    let region = |name: &str| RegionId::try_from(name.to_owned()).expect("a region's name");
    let allowed: BTreeSet<RegionId> = [region("eu"), region("us")].into();
    assert_eq!(narrow(&allowed, None), Ok(allowed.clone()));
    assert_eq!(narrow(&allowed, Some("us")), Ok([region("us")].into()));
    assert_eq!(narrow(&allowed, Some("us, eu")), Ok(allowed.clone()));
    assert_eq!(narrow(&allowed, Some("eu,cn")), Err(Refusal::RegionNotAllowed { region: "cn".into() }));
    assert_eq!(narrow(&allowed, Some(" , ")).expect_err("none").code(), "N-509");
}
