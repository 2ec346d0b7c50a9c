//! What ops refuse, and in what words.

use super::*;

#[test]
fn the_table_is_consistent() {
    for spec in OPS {
        assert!((spec.defaults)().is_object(), "{}", spec.name);
        assert!(!spec.summary.is_empty() && !spec.outputs.is_empty());
        for updated in spec.outputs.iter().filter_map(|o| o.name.strip_prefix("new_")) {
            let given = spec.inputs.iter().find(|o| o.name == updated && o.full && !o.differentiable);
            assert!(given.is_some(), "{} updates `{updated}`, which it does not take", spec.name);
        }
        for case in (spec.cases)() {
            for operand in spec.inputs.iter().filter(|o| !o.optional) {
                let given = case.inputs.iter().find(|(name, ..)| *name == operand.name);
                let (_, ty, _) =
                    given.unwrap_or_else(|| panic!("{}/{}: no {}", spec.name, case.name, operand.name));
                assert_eq!(ty.dtype, operand.dtype);
            }
        }
    }
}

#[test]
fn bad_input_is_an_error_that_names_the_op() {
    let x = |shape: &[usize]| HostTensor::f32(shape, vec![0.5; shape.iter().product()]);
    let fails = |op: &str, params: serde_json::Value, tensors: &[(&str, HostTensor)], say: &str| {
        let inputs = tensors.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
        let error = run(op, &params, &inputs, How::default()).expect_err(op).to_string();
        assert!(error.contains(op) && error.contains(say), "`{error}` should name `{op}` and say `{say}`");
    };
    let none = serde_json::json!({});
    fails("linear", none.clone(), &[("x", x(&[2, 3])), ("w", x(&[4, 5]))], "[K,3]");
    fails("linear", none.clone(), &[("x", x(&[2, 3]))], "`w` is missing");
    fails("relu", none.clone(), &[("x", x(&[2])), ("extra", x(&[2]))], "no input `extra`");
    fails("nt_xent", none.clone(), &[("z", x(&[5, 3]))], "two views");
    fails("nt_xent", serde_json::json!({"temperature": 0}), &[("z", x(&[4, 3]))], "temperature");
    fails("nt_xent", serde_json::json!({"temprature": 1}), &[("z", x(&[4, 3]))], "unknown field");
    fails("max_pool", serde_json::json!({"kernel": 9}), &[("x", x(&[1, 4, 4, 1]))], "smaller than kernel");
    fails("add", none.clone(), &[("a", x(&[2, 3])), ("b", x(&[3, 2]))], "must be f32[2, 3]");
    fails("global_avg_pool", none, &[("x", x(&[2, 0, 3, 1]))], "empty");
    let labels = HostTensor::i64([3], vec![0; 3]);
    fails(
        "softmax_cross_entropy",
        serde_json::json!({}),
        &[("logits", x(&[2, 3])), ("labels", labels)],
        "labels",
    );
    let pair = [("logits", x(&[2, 3])), ("targets", x(&[2, 4]))];
    fails("soft_cross_entropy", serde_json::json!({}), &pair, "`targets` must be f32[2, 3]");
    let pair = [("logits", x(&[2, 3])), ("targets", x(&[2, 3]))];
    fails("soft_cross_entropy", serde_json::json!({"temperature": -1}), &pair, "temperature");
    fails("softmax", serde_json::json!({}), &[("x", x(&[2, 3])), ("center", x(&[2]))], "f32[3]");
    fails("softmax", serde_json::json!({"temperature": 0}), &[("x", x(&[2, 3]))], "temperature");
    fails("column_mean", serde_json::json!({}), &[("x", x(&[2]))], "x");
    let pair = [("scores", x(&[2, 3])), ("queue_scores", x(&[5, 4]))];
    fails("sinkhorn", serde_json::json!({}), &pair, "`queue_scores` must be f32[5, 3]");
    fails("sinkhorn", serde_json::json!({"epsilon": 0}), &pair[..1], "epsilon");
    fails("sinkhorn", serde_json::json!({"iterations": 0}), &pair[..1], "iterations");

    let none = serde_json::json!({});
    let pair = |a: &[usize], b: &[usize]| [("a", x(a)), ("b", x(b))];
    let both = serde_json::json!({"transpose_a": true, "transpose_b": true});
    fails("matmul", both, &pair(&[2, 3], &[3, 2]), "b a");
    fails("matmul", none.clone(), &pair(&[2, 3], &[4, 2]), "equal");
    fails("center", none.clone(), &[("x", x(&[0, 3]))], "empty");
    fails("mse_loss", none.clone(), &pair(&[2, 3], &[3, 2]), "must be f32[2, 3]");
    fails("vicreg", none.clone(), &pair(&[1, 3], &[1, 3]), "batch of one");
    fails("barlow_twins", none.clone(), &pair(&[1, 3], &[1, 3]), "batch of one");
    fails("barlow_twins", none.clone(), &pair(&[4, 3], &[4, 2]), "must be f32[4, 3]");
    fails("whiten", none.clone(), &[("x", x(&[5, 5]))], "more than 5");
    fails("weighted_sum", serde_json::json!({"weights": [1.0]}), &pair(&[1], &[1]), "got 2 and 1 weights");
    fails("weighted_sum", serde_json::json!({"weights": [1.0, 1.0]}), &pair(&[1], &[2]), "must be f32[1]");

    fails("rows", serde_json::json!({"from": 2, "to": 5}), &[("x", x(&[4, 3]))], "rows 2..5 of 4");
    fails("rows", serde_json::json!({"from": 2, "to": 2}), &[("x", x(&[4, 3]))], "less than");
    fails("rows", none.clone(), &[("x", x(&[4, 0]))], "empty");
    fails("concat_views", none.clone(), &[("x", x(&[5, 3]))], "divide the rows");
    fails("concat_views", serde_json::json!({"views": 0}), &[("x", x(&[4, 3]))], "at least 1");
    fails("concat_views", none.clone(), &[("x", x(&[0, 3]))], "empty");
    fails("concat", none.clone(), &pair(&[2, 3], &[2, 4]), "must be f32[2, 3]");
    fails("concat", none.clone(), &pair(&[2, 3], &[0, 3]), "empty");
    let turned = |shape, turns: usize| [("x", x(shape)), ("turns", HostTensor::i64([turns], vec![1; turns]))];
    fails("rotate", none.clone(), &turned(&[2, 4, 5, 3], 2), "not square");
    fails("rotate", none.clone(), &turned(&[2, 4, 4, 3], 3), "`turns` must be i64[2]");
    fails("rotate", none.clone(), &turned(&[2, 4, 4, 0], 2), "empty");
    fails("patch_norm", none.clone(), &[("x", x(&[2, 0, 4, 3]))], "empty");
    fails("patch_norm", serde_json::json!({"eps": 0}), &[("x", x(&[2, 4, 4, 3]))], "eps");

    let labelled = |labels| [("logits", x(&[2, 3])), ("labels", HostTensor::i64([2], labels))];
    let classes = "must be from 0 to 2: `logits` is f32[2, 3]";
    fails(
        "softmax_cross_entropy",
        none.clone(),
        &labelled(vec![0, 3]),
        &format!("`labels`[1] is 3, {classes}"),
    );
    fails(
        "softmax_cross_entropy",
        none.clone(),
        &labelled(vec![-1, 0]),
        &format!("`labels`[0] is -1, {classes}"),
    );
    let halves = [("logits", x(&[2, 3])), ("labels", x(&[2]))];
    fails("softmax_cross_entropy", none.clone(), &halves, "`labels`[0] is 0.5, must be a whole number");
    let indexed = |index| [("x", x(&[4, 3])), ("index", HostTensor::i64([2], index))];
    fails(
        "gather",
        none.clone(),
        &indexed(vec![3, 4]),
        "`index`[1] is 4, must be from 0 to 3: `x` is f32[4, 3]",
    );
    fails("gather", none.clone(), &indexed(vec![-1, 0]), "`index`[0] is -1, which cannot be taken as u32");

    // A divisor in f32 also needs an inverse in f32.
    let eps = |eps: f64| serde_json::json!({"eps": eps});
    for (op, tensors) in [
        ("vicreg", &pair(&[4, 3], &[4, 3])[..]),
        ("barlow_twins", &pair(&[4, 3], &[4, 3])),
        ("l2_normalize", &[("x", x(&[4, 3]))]),
        ("batch_norm", &[("x", x(&[4, 3])), ("gamma", x(&[3])), ("beta", x(&[3]))]),
        ("whiten", &[("x", x(&[4, 3]))]),
        ("patch_norm", &[("x", x(&[2, 4, 4, 3]))]),
    ] {
        [-1.0, 1e39].into_iter().for_each(|bad| fails(op, eps(bad), tensors, "eps"));
    }
    let huge = |name: &str| serde_json::json!({ name: 1e39 });
    ["sim", "std", "cov"].into_iter().for_each(|w| fails("vicreg", huge(w), &pair(&[4, 3], &[4, 3]), w));
    ["lambda", "scale"].into_iter().for_each(|w| fails("barlow_twins", huge(w), &pair(&[4, 3], &[4, 3]), w));
    fails("matmul", huge("scale"), &pair(&[4, 3], &[3, 2]), "scale");
    fails("weighted_sum", serde_json::json!({"weights": [1.0, 1e39]}), &pair(&[1], &[1]), "weights");
    fails("nt_xent", serde_json::json!({"temperature": 1e-39}), &[("z", x(&[4, 3]))], "inverse");

    let banked = |index| [("rows", x(&[2, 3])), ("index", HostTensor::i64([2], index)), ("bank", x(&[4, 3]))];
    fails("memory_bank", none.clone(), &banked(vec![0, 4]), "`index`[1] is 4, must be from 0 to 3");
    fails("memory_bank", serde_json::json!({"momentum": 1.5}), &banked(vec![0, 1]), "momentum");
    let queued = [("schedule", x(&[3])), ("rows", x(&[2, 3])), ("queue", x(&[4, 3]))];
    fails("enqueue", none.clone(), &queued, "`schedule` must be f32[2]");
    let followed = [("momentum", x(&[1])), ("value", x(&[2, 3])), ("target", x(&[3, 2]))];
    fails("ema", none.clone(), &followed, "`target` must be f32[2, 3]");
    let step = |schedule: &[usize], names: &[&'static str]| -> Vec<(&str, HostTensor)> {
        let tensors = names.iter().map(|&name| (name, x(&[2, 3])));
        [("schedule", x(schedule))].into_iter().chain(tensors).collect()
    };
    let momentum = ["grad", "param", "momentum"];
    fails("sgd", none.clone(), &step(&[1], &momentum), "`schedule` must be f32[2]");
    fails("sgd", serde_json::json!({"eta": 0.1}), &step(&[2], &momentum), "unknown field `eta`");
    fails("sgd", none.clone(), &step(&[2], &momentum[..2]), "`momentum` is missing");
    fails("lars", huge("eta"), &step(&[2], &momentum), "eta");
    let moments = ["grad", "param", "exp_avg", "exp_avg_sq"];
    fails("adamw", serde_json::json!({"betas": [0.9, 1.0]}), &step(&[2], &moments), "betas");

    let table = [("x", x(&[4, 3])), ("index", HostTensor::i64([2, 1], vec![0; 2]))];
    fails("gather", none, &table, "index");
    let queued = [("q", x(&[4, 3])), ("k", x(&[4, 3])), ("queue", x(&[5, 2]))];
    fails("info_nce", serde_json::json!({}), &queued, "`queue` must be f32[5, 3]");
    fails("info_nce", serde_json::json!({"temperature": 0}), &queued[..2], "temperature");
    fails("info_nce", serde_json::json!({"temperature": -1}), &queued[..2], "temperature");
    fails(
        "info_nce",
        serde_json::json!({}),
        &[("q", x(&[4, 3])), ("k", x(&[3, 3]))],
        "`k` must be f32[4, 3]",
    );
    fails("info_nce", serde_json::json!({}), &[("q", x(&[1, 3])), ("k", x(&[1, 3]))], "no negatives");
    fails("nearest", serde_json::json!({}), &[("z", x(&[4, 3])), ("support", x(&[4, 2]))], "f32[4, 3]");
}
