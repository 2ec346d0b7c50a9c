//! What ops make of NaN, of indices beyond a table, of ties and constants.

use super::*;
use rusa::ops::gather::Gather;
use rusa::ops::info_nce::InfoNce;
use rusa::ops::sinkhorn::Sinkhorn;
use rusa::ops::soft_cross_entropy::SoftCrossEntropy;

#[test]
fn nan_reaches_what_depends_on_it_and_masked_logits_have_no_share() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let give = |op: &str, tensors: &[(&str, &[f32])]| {
            let inputs =
                tensors.iter().map(|(name, v)| (name.to_string(), HostTensor::f32([2, 3], v.to_vec())));
            let how = How { device, ..How::default() };
            let mut results = run(op, &serde_json::Value::Null, &inputs.collect(), how).unwrap();
            results.pop_first().unwrap().1.as_f32().unwrap().to_vec()
        };
        let nan = |values: &[f32]| values.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        let x = [0.5, -1.0, 2.0, 0.25, f32::NAN, 1.0];
        assert_eq!(nan(&give("softmax", &[("x", &x)])), [false, false, false, true, true, true]);
        assert_eq!(nan(&give("column_mean", &[("x", &x)])), [false, true, false]);
        assert_eq!(nan(&give("sinkhorn", &[("scores", &x)])), [true; 6]);
        assert_eq!(nan(&give("center", &[("x", &x)])), [false, true, false, false, true, false]);
        for op in ["mse_loss", "vicreg", "barlow_twins"] {
            assert_eq!(nan(&give(op, &[("a", &[0.5, 0.0, 1.0, 0.0, 1.0, 2.0]), ("b", &x)])), [true], "{op}");
        }
        assert_eq!(nan(&give("soft_cross_entropy", &[("logits", &x), ("targets", &[0.5; 6])])), [true]);

        let x = [0.0, f32::NEG_INFINITY, 0.0, 1e30, 0.0, 0.0];
        assert_eq!(give("softmax", &[("x", &x)]), [0.5, 0.0, 0.5, 1.0, 0.0, 0.0]);
    }
}

#[test]
fn an_index_beyond_the_table_gives_nan() {
    // `run` sees values and refuses; what a step records cannot see them.
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32([2, 3])).unwrap();
        let index = graph.input("index", TensorType::new([4], DType::U32)).unwrap();
        let y = graph.apply1(Gather, &[x, index]).unwrap();
        graph.keep(y);
        let mut program = device.program_apart(graph).unwrap();
        program.write_f32(x, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]).unwrap();
        program.write(index, &[1, 2, 0, u32::MAX].map(u32::to_ne_bytes).concat()).unwrap();
        program.run_all().unwrap();
        let y = program.read_f32(y).unwrap();
        let nan: Vec<_> = y.iter().map(|y| y.is_nan()).collect();
        let (kept, all) = ([false; 3], [true; 3]);
        assert_eq!(nan, [[false, true, false], all, kept, all].concat(), "{device}");
        assert_eq!(y[6..9], [0.0, 1.0, 2.0], "{device}");
    }
}

#[test]
fn whitening_what_has_no_inverse_covariance_is_nan() {
    // The second column is constant: its pivot is 0, and 0/0 is no number.
    let x = [0.0, 1.0, 2.0, 4.0, 8.0].into_iter().flat_map(|v| [v, 0.5]).collect();
    let inputs = BTreeMap::from([("x".to_string(), HostTensor::f32([5, 2], x))]);
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let how = How { device, ..How::default() };
        let y = &run("whiten", &serde_json::Value::Null, &inputs, how).unwrap()["y"];
        assert!(y.as_f32().unwrap().iter().skip(1).step_by(2).all(|y| y.is_nan()), "{device}: {y:?}");
    }
}

#[test]
fn the_first_of_equal_neighbours_wins_and_nan_stays_nan() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let nearest = |z: &[f32], support: &[f32]| {
            let rows = |x: &[f32]| HostTensor::f32([x.len() / 2, 2], x.to_vec());
            let inputs = BTreeMap::from([("z".to_string(), rows(z)), ("support".to_string(), rows(support))]);
            let how = How { device, ..How::default() };
            run("nearest", &serde_json::Value::Null, &inputs, how).unwrap()["y"].as_f32().unwrap().to_vec()
        };
        // Lengths are powers of two, so that equal directions have equal cosines.
        let support = [0.0, 1.0, 2.0, 0.0, 8.0, 0.0, 0.0, -4.0, 1.0, 0.0];
        let y = nearest(&[3.0, 0.0, f32::NAN, 1.0, 0.0, -1.0, 0.0, 0.0], &support);
        assert_eq!(y[..2], [2.0, 0.0], "{device}");
        assert!(y[2].is_nan() && y[3].is_nan(), "{device}");
        assert_eq!(y[4..], [0.0, -4.0, 0.0, 1.0], "{device}");
        assert!(nearest(&[1.0, 0.0], &[1.0, 0.0, 0.0, f32::NAN]).iter().all(|y| y.is_nan()), "{device}");
    }
}

/// A gradient is made for whichever side wants one, and is the same whether or not the other wants one too.
#[test]
fn either_side_of_info_nce_may_be_a_constant() {
    for device in device("vm").into_iter().chain([Device::Cpu]) {
        let mut rng = Philox::new(16, Purpose::Test, 0, 0);
        let mut rows = |n: usize| -> Vec<f32> { (0..n * 6).map(|_| rng.normal()).collect() };
        let values = [rows(5), rows(5), rows(9)];
        for with_queue in [false, true] {
            let gradients = |trained: [bool; 2]| {
                let mut graph = Graph::new();
                let mut ids: Vec<_> = ["q", "k"]
                    .into_iter()
                    .zip(trained)
                    .map(|(name, trained)| {
                        let id = graph.differentiable_input(name, TensorType::f32([5, 6])).unwrap();
                        if trained { id } else { graph.stop_gradient(id) }
                    })
                    .collect();
                if with_queue {
                    ids.push(graph.input("queue", TensorType::f32([9, 6])).unwrap());
                }
                let loss = graph.apply1(InfoNce::default(), &ids).unwrap();
                let upstream = graph.input("upstream", TensorType::f32([1])).unwrap();
                let found = graph.differentiate(&[(loss, upstream)]).unwrap();
                let gradients: Vec<_> = ids[..2].iter().map(|id| found.get(*id)).collect();
                gradients.iter().flatten().for_each(|id| graph.keep(*id));
                let mut program = device.program_apart(graph).unwrap();
                ids.iter().zip(&values).for_each(|(id, values)| program.write_f32(*id, values).unwrap());
                program.write_f32(upstream, &[1.0]).unwrap();
                program.run_all().unwrap();
                gradients.iter().map(|id| id.map(|id| program.read_f32(id).unwrap())).collect::<Vec<_>>()
            };
            let both = gradients([true, true]);
            assert!(both.iter().all(Option::is_some));
            assert_eq!(gradients([true, false]), [both[0].clone(), None], "{device}");
            assert_eq!(gradients([false, true]), [None, both[1].clone()], "{device}");
        }
    }
}

/// SwAV's loss takes its targets from the very scores that it moves.
#[test]
fn codes_made_from_the_logits_are_constants() {
    let mut rng = Philox::new(15, Purpose::Test, 0, 0);
    let x = HostTensor::f32([6, 5], (0..30).map(|_| rng.normal()).collect());
    let none = serde_json::Value::Null;
    let of = |pairs: &[(&str, &HostTensor)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(name, t)| (name.to_string(), (*t).clone())).collect()
    };
    let codes = &run("sinkhorn", &none, &of(&[("scores", &x)]), How::default()).unwrap()["assignments"];
    let backward = How { backward: true, ..How::default() };
    let given = of(&[("logits", &x), ("targets", codes)]);
    let want = &run("soft_cross_entropy", &none, &given, backward).unwrap()["d_logits"];

    let mut graph = Graph::new();
    let scores = graph.differentiable_input("scores", x.ty()).unwrap();
    let codes = graph.apply1(Sinkhorn::default(), &[scores]).unwrap();
    let loss = graph.apply1(SoftCrossEntropy::default(), &[scores, codes]).unwrap();
    let upstream = graph.input("upstream", TensorType::f32([1])).unwrap();
    let gradient = graph.differentiate(&[(loss, upstream)]).unwrap().get(scores).unwrap();
    graph.keep(gradient);
    let mut program = Device::Cpu.program(graph).unwrap();
    program.write_f32(scores, x.as_f32().unwrap()).unwrap();
    program.write_f32(upstream, &[1.0]).unwrap();
    program.run_all().unwrap();
    assert_eq!(program.read_f32(gradient).unwrap(), want.as_f32().unwrap());
}
