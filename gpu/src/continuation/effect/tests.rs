use super::*;

fn effect(of: u8, seq: u32, op: Op, args: Vec<Value>) -> EffectId {
    Effect::new(&Digest([of; 32]), seq, op, args).expect("within bounds").id
}

#[test]
fn an_id_is_pinned_and_follows_from_continuation_number_operation_and_arguments() {
    let args = || vec![Value::Int(7), Value::Text("x".to_owned())];
    let base = effect(1, 2, Op::Tool { idempotent: true }, args());
    assert_eq!(base.to_string(), "345e041875fb64da18b2c7790b3f8ced391a3b9c4f3d0be1fe9a82cb3a11610b");
    for other in [
        effect(9, 2, Op::Tool { idempotent: true }, args()),
        effect(1, 9, Op::Tool { idempotent: true }, args()),
        effect(1, 2, Op::Tool { idempotent: false }, args()),
        effect(1, 2, Op::Decode, args()),
        effect(1, 2, Op::Tool { idempotent: true }, vec![Value::Int(7)]),
        effect(1, 2, Op::Tool { idempotent: true }, vec![Value::Text("x".to_owned()), Value::Int(7)]),
    ] {
        assert_ne!(other, base);
    }
}

#[test]
fn an_effect_belongs_to_one_continuation() {
    let mut effect = Effect::new(&Digest([1; 32]), 3, Op::LedgerTx, vec![Value::Nil]).expect("within bounds");
    assert!(effect.belongs_to(&Digest([1; 32])));
    assert!(!effect.belongs_to(&Digest([2; 32])));
    effect.seq = 4;
    assert!(!effect.belongs_to(&Digest([1; 32])));
}

#[test]
fn too_many_arguments_are_refused() {
    let effect = |count| Effect::new(&Digest::ZERO, 0, Op::Tool { idempotent: true }, vec![Value::Nil; count]);
    assert!(effect(16).is_ok());
    assert!(effect(17).is_err_and(|refusal| refusal.code() == "E-310"));
}
