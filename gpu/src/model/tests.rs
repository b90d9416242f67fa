use std::{fs, path::Path};

use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::{synthetic::SyntheticLlama, *};

fn written() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    SyntheticLlama::default().write(folder.path()).expect("writable");
    folder
}

fn fault(folder: &Path) -> String {
    Model::load(folder).err().expect("it must not load").to_string()
}

/// The tensors of the synthetic model, changed.
fn rewrite(folder: &Path, change: impl Fn(&str, Dtype, Vec<usize>, Vec<u8>) -> Option<(Dtype, Vec<usize>, Vec<u8>)>) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).expect("readable");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
    let changed: Vec<_> = tensors
        .iter()
        .filter_map(|(name, view)| {
            let changed = change(name, view.dtype(), view.shape().to_vec(), view.data().to_vec());
            changed.map(|tensor| (name.to_owned(), tensor))
        })
        .collect();
    let views = changed.iter().map(|(name, (dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("consistent"))
    });
    fs::write(path, safetensors::serialize(views, None).expect("valid")).expect("writable");
}

#[test]
fn the_hash_covers_configuration_and_weights() {
    let folder = written();
    let hash = Model::load(folder.path()).expect("valid").hash();
    assert_eq!(Model::load(folder.path()).expect("valid").hash(), hash);

    let weights = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&weights, &bytes).expect("writable");
    let other_weights = Model::load(folder.path()).expect("valid").hash();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id":2}"#).expect("writable");
    let other_end = Model::load(folder.path()).expect("valid").hash();
    assert!(hash != other_weights && other_weights != other_end && hash != other_end);
}

#[test]
fn shards_give_the_same_logits_as_one_file() {
    let folder = written();
    let whole = Model::load(folder.path()).expect("valid").logits(&[1, 2, 3]);
    let bytes = fs::read(folder.path().join("model.safetensors")).expect("readable");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
    let mut map = serde_json::Map::new();
    for (shard, parity) in [("a.safetensors", 0), ("b.safetensors", 1)] {
        let mut names = tensors.names();
        names.sort_unstable();
        let part: Vec<_> = names.into_iter().skip(parity).step_by(2).collect();
        map.extend(part.iter().map(|name| ((*name).to_owned(), json!(shard))));
        let views = part.iter().map(|name| (*name, tensors.tensor(name).expect("it has that name")));
        let bytes = safetensors::serialize(views, None).expect("valid");
        fs::write(folder.path().join(shard), bytes).expect("writable");
    }
    let index = json!({"weight_map": map}).to_string();
    fs::write(folder.path().join("model.safetensors.index.json"), index).expect("writable");
    fs::remove_file(folder.path().join("model.safetensors")).expect("it is there");
    assert_eq!(Model::load(folder.path()).expect("valid").logits(&[1, 2, 3]), whole);
}

#[test]
fn wider_formats_are_rounded_to_bfloat16() {
    let folder = written();
    let plain = Model::load(folder.path()).expect("valid").logits(&[5, 6]);
    rewrite(folder.path(), |_, _, shape, bytes| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let wide = pairs.iter().flat_map(|pair| half::bf16::from_le_bytes(*pair).to_f32().to_le_bytes()).collect();
        Some((Dtype::F32, shape, wide))
    });
    assert_eq!(Model::load(folder.path()).expect("valid").logits(&[5, 6]), plain);
    rewrite(folder.path(), |_, _, shape, bytes| {
        let (words, _) = bytes.as_chunks::<4>();
        let narrow = words.iter().flat_map(|word| f16::from_f32(f32::from_le_bytes(*word)).to_le_bytes()).collect();
        Some((Dtype::F16, shape, narrow))
    });
    let near = Model::load(folder.path()).expect("valid").logits(&[5, 6]);
    for (a, b) in near.iter().flatten().zip(plain.iter().flatten()) {
        assert!((a - b).abs() < 0.05, "{a} and {b}");
    }
}

#[test]
fn a_missing_misshapen_or_foreign_tensor_is_named() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let folder = written();
    rewrite(folder.path(), |tensor, dtype, shape, bytes| (tensor != name).then_some((dtype, shape, bytes)));
    assert_eq!(fault(folder.path()), format!("tensor {name}: is missing"));

    let folder = written();
    rewrite(folder.path(), |tensor, dtype, mut shape, bytes| {
        if tensor == name {
            shape.reverse();
        }
        Some((dtype, shape, bytes))
    });
    assert!(fault(folder.path()).contains("has shape [128, 64], the configuration asks for [64, 128]"));

    let folder = written();
    rewrite(folder.path(), |tensor, dtype, shape, bytes| {
        Some((if tensor == name { Dtype::I16 } else { dtype }, shape, bytes))
    });
    assert!(fault(folder.path()).contains("has dtype I16"));
}

#[test]
fn damaged_weight_files_are_refused() {
    let folder = written();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("readable");
    for damaged in [
        bytes[..bytes.len() - 1].to_vec(),
        [bytes.as_slice(), &[0]].concat(),
        [&u64::MAX.to_le_bytes(), &bytes[8..]].concat(),
        [&bytes[..8], b"[", &bytes[9..]].concat(),
        bytes[..5].to_vec(),
        Vec::new(),
    ] {
        fs::write(&path, damaged).expect("writable");
        assert!(fault(folder.path()).contains("model.safetensors"));
    }
    fs::remove_file(&path).expect("it is there");
    assert!(fault(folder.path()).starts_with("cannot read"));
}

#[test]
fn an_index_cannot_reach_out_of_its_folder() {
    let folder = written();
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "..", ""] {
        let index = json!({"weight_map": {"x": name}}).to_string();
        fs::write(folder.path().join("model.safetensors.index.json"), index).expect("writable");
        assert!(fault(folder.path()).contains("is not the name of a file"), "{name}");
    }
}

#[test]
fn a_malformed_tokenizer_is_refused() {
    let folder = written();
    fs::write(folder.path().join("tokenizer.json"), "{}").expect("writable");
    assert!(fault(folder.path()).contains("tokenizer.json is malformed"));
    // The demo model's tokenizer has more tokens than the synthetic model.
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    fs::copy(tiny.join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("the demo model is there");
    assert!(fault(folder.path()).contains("but the model has 256"));
}
