//! Law 11: a parameter without a per-example gradient is an error that names it, and a model whose examples influence each
//! other is refused before training.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use dpsgd::Error;
use dpsgd::grad::{Engine, Kernels, Tape, probe_isolation};
use dpsgd::model::{Architecture, Classifier, Model};
use dpsgd::nn::{Layer, Linear, Parameters, Pull, Pulled, Sequential, embedding, linear};
use dpsgd::seed::Key;

fn probe<M: Model>(build: impl FnOnce(VarBuilder<'static>) -> M, kernels: Kernels) -> dpsgd::Result<()> {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let model = build(parameters.var_builder());
    probe_isolation(&model, &parameters, &[6], 3, Engine { kernels, ..Engine::default() }, &Key::from_seed(2))
}

/// A network that does something to the output of a linear layer.
struct After<F>(Linear, F);

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Layer for After<F> {
    fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
        (self.1)(&self.0.forward(xs, tape)?)
    }
}

fn after<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync>(vb: VarBuilder<'static>, f: F) -> Classifier<After<F>> {
    Classifier::new(After(linear(6, 3, vb.pp("linear")).unwrap(), f))
}

#[test]
fn the_named_architectures_pass() {
    for kernels in [Kernels::Auto, Kernels::Portable] {
        for (name, architecture) in Architecture::ALL.into_iter().filter(|(_, a)| !a.takes_tokens()) {
            let shape: &[usize] = if name == "cnn" { &[8, 8] } else { &[6] };
            let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
            let model = architecture.build(shape, 3, parameters.var_builder()).unwrap();
            let engine = Engine { kernels, ..Engine::default() };
            probe_isolation(&model, &parameters, shape, 3, engine, &Key::from_seed(2)).expect(name);
        }
    }
}

#[test]
fn a_parameter_outside_the_layers_is_named() {
    for kernels in [Kernels::Auto, Kernels::Portable] {
        let refusal = probe(
            |vb| {
                let scale = vb.get_with_hints(3, "my.scale", candle_nn::init::ONE).unwrap();
                after(vb, move |ys| ys.broadcast_mul(&scale))
            },
            kernels,
        );
        let Err(Error::Uncovered { parameter, .. }) = refusal else { panic!("{refusal:?}") };
        assert_eq!(parameter, "my.scale");
    }
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_is_named() {
    for kernels in [Kernels::Auto, Kernels::Portable] {
        let refusal = probe(
            |vb| {
                linear(6, 3, vb.pp("forgotten")).unwrap();
                after(vb, |ys| Ok(ys.clone()))
            },
            kernels,
        );
        assert!(
            matches!(&refusal, Err(Error::Uncovered { parameter, .. }) if parameter == "forgotten.bias"),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_parameter_computed_from_others_is_refused_by_the_layer() {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let weight = parameters.var_builder().get((3, 6), "w").unwrap();
    let refusal = Linear::new((weight * 2.0).unwrap(), None).unwrap_err().to_string();
    assert!(refusal.contains("computed from other parameters"), "{refusal}");
}

#[test]
fn batch_statistics_are_refused() {
    for kernels in [Kernels::Auto, Kernels::Portable] {
        let centred = probe(|vb| after(vb, |ys| ys.broadcast_sub(&ys.mean_keepdim(0)?)), kernels);
        assert!(matches!(centred, Err(Error::NotIsolated { .. })), "{centred:?}");
        // The statistic hides behind a detach, so that only the gradient is clean.
        let detached = probe(|vb| after(vb, |ys| ys.broadcast_sub(&ys.detach().mean_keepdim(0)?)), kernels);
        assert!(matches!(detached, Err(Error::NotIsolated { .. })), "{detached:?}");
        // The same within an example is no statistic of the batch.
        probe(|vb| after(vb, |ys| ys.broadcast_sub(&ys.mean_keepdim(D::Minus1)?)), kernels).unwrap();
    }
}

#[test]
fn batch_statistics_that_are_zero_before_training_are_refused() {
    for kernels in [Kernels::Auto, Kernels::Portable] {
        let from_zero = |f: fn(&Tensor) -> Result<Tensor>| {
            let build = |vb: VarBuilder<'static>| {
                let weight = vb.get_with_hints((3, 6), "weight", candle_nn::init::ZERO).unwrap();
                Classifier::new(After(Linear::new(weight, None).unwrap(), f))
            };
            probe(build, kernels)
        };
        let centred = from_zero(|ys| ys.broadcast_sub(&ys.detach().mean_keepdim(0)?));
        assert!(matches!(centred, Err(Error::NotIsolated { .. })), "{centred:?}");
        from_zero(|ys| ys.broadcast_sub(&ys.detach().mean_keepdim(D::Minus1)?)).unwrap();
    }
}

#[test]
fn batch_statistics_of_tokens_are_refused_with_every_key() {
    struct Bag<F>(dpsgd::nn::Embedding, Linear, F);
    impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Layer for Bag<F> {
        fn forward(&self, xs: &Tensor, tape: &Tape) -> Result<Tensor> {
            let rows = self.0.forward(&xs.to_dtype(DType::U32)?, tape)?;
            self.1.forward(&(self.2)(&rows.mean(1)?)?, tape)
        }
    }
    let refused = |statistic: fn(&Tensor) -> Result<Tensor>, seed| {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        let vb = parameters.var_builder();
        let (table, output) = (embedding(20, 4, vb.pp("table")).unwrap(), linear(4, 2, vb.pp("output")).unwrap());
        let model = Classifier::new(Bag(table, output, statistic));
        let found = probe_isolation(&model, &parameters, &[16], 2, Engine::default(), &Key::from_seed(seed));
        match found {
            Ok(()) => false,
            Err(Error::NotIsolated { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    };
    for seed in 0..20 {
        assert!(refused(|hidden| hidden.broadcast_add(&hidden.mean_keepdim(0)?), seed), "plain, key {seed}");
        assert!(
            refused(|hidden| hidden.broadcast_sub(&hidden.detach().mean_keepdim(0)?), seed),
            "detached, key {seed}"
        );
        assert!(!refused(|hidden| Ok(hidden.clone()), seed), "none, key {seed}");
    }
}

#[test]
fn a_batch_dimension_that_is_reshaped_away_is_refused() {
    struct Reshaping(Linear);
    impl Model for Reshaping {
        fn losses(&self, xs: &Tensor, _: &Tensor, tape: &Tape) -> Result<Tensor> {
            let batch = xs.dim(0)?;
            let ys = self.0.forward(&xs.reshape((batch * 2, 3))?, tape)?;
            ys.sqr()?.sum(D::Minus1)?.reshape((batch, 2))?.sum(1)
        }
    }
    for kernels in [Kernels::Auto, Kernels::Portable] {
        let refusal = probe(|vb| Reshaping(linear(3, 2, vb.pp("inner")).unwrap()), kernels);
        let Err(Error::Uncovered { parameter, reason }) = refusal else { panic!("{refusal:?}") };
        assert!(parameter.starts_with("inner.") && reason.contains("batch dimension"), "{parameter}: {reason}");
    }
}

#[test]
fn a_loss_that_is_not_per_example_is_refused() {
    struct Mean(Linear);
    impl Model for Mean {
        fn losses(&self, xs: &Tensor, _: &Tensor, tape: &Tape) -> Result<Tensor> {
            self.0.forward(xs, tape)?.sqr()?.mean_all()
        }
    }
    let refusal = probe(|vb| Mean(linear(6, 2, vb).unwrap()), Kernels::Auto).unwrap_err().to_string();
    assert!(refusal.contains("one loss per example"), "{refusal}");
}

#[test]
fn ways_back_of_somebody_elses_layers_are_not_trusted() {
    /// Maps the batch in the forward pass and its cotangent on the way back, if there is one.
    struct Leading(Map, Option<Map>);
    type Map = fn(&Tensor) -> Result<Tensor>;
    impl Layer for Leading {
        fn forward(&self, xs: &Tensor, _: &Tape) -> Result<Tensor> {
            (self.0)(xs)
        }
        fn as_pull(&self) -> Option<&dyn Pull> {
            Some(self)
        }
    }
    impl Pull for Leading {
        fn pull(&self, xs: &Tensor, wanted: bool, _: &Tape) -> Result<Pulled> {
            let back = self.1;
            let needed = wanted && back.is_some();
            Ok(Pulled::new((self.0)(xs)?, xs, needed, move |g| back.map(|back| back(&g)).transpose()))
        }
    }
    let refusal = |layer: Leading| {
        let build = |vb: VarBuilder<'static>| {
            let network = Sequential::new().add(linear(6, 4, vb.pp("first")).unwrap()).add(layer);
            Classifier::new(network.add(linear(4, 3, vb.pp("last")).unwrap()))
        };
        probe(build, Kernels::Auto)
    };
    let same: Map = |xs| Ok(xs.clone());
    let mixed: Map = |xs| xs.broadcast_sub(&xs.mean_keepdim(0)?);
    refusal(Leading(same, Some(same))).unwrap();
    for (forward, back) in [(mixed, same), (same, mixed)] {
        let mixing = refusal(Leading(forward, Some(back)));
        assert!(matches!(mixing, Err(Error::NotIsolated { .. })), "{mixing:?}");
    }
    let none = refusal(Leading(same, None));
    assert!(matches!(&none, Err(Error::Uncovered { parameter, .. }) if parameter == "first.bias"), "{none:?}");
    let other = refusal(Leading(same, Some(|g| g.flatten_all()))).unwrap_err().to_string();
    assert!(other.contains("shape [4] for inputs of [1, 4]"), "{other}");
}
