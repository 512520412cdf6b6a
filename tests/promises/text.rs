//! Texts are trained on as tokens: padding counts for nothing, examples stay apart, and the command line goes all the way.

use candle_core::{D, DType, Device, Result, Tensor};
use dpsgd::Error;
use dpsgd::data::{Form, Reading, Target, Vocabulary, read};
use dpsgd::grad::{Engine, Kernels, PerExample, Recorded, Route, Tape, Weights, probe_isolation_of};
use dpsgd::model::{Architecture, Classifier, Model};
use dpsgd::nn::{Embedding, Layer, Linear, Parameters, Sequential, embedding, linear};
use dpsgd::seed::Key;
use dpsgd::train::tensors;

const VOCABULARY: usize = 12;
const PADDING: u32 = 11;

/// Every architecture over tokens with what it can be asked.
fn cases(length: usize) -> Vec<(Architecture, Form)> {
    let form = |target| Form::tokens(length, VOCABULARY, target);
    vec![
        (Architecture::Bag, form(Target::Class(3))),
        (Architecture::Lstm, form(Target::Class(3))),
        (Architecture::Transformer, form(Target::Class(3))),
        (Architecture::Lstm, form(Target::NextToken)),
        (Architecture::Transformer, form(Target::NextToken)),
    ]
}

fn built(architecture: Architecture, form: &Form, dtype: DType) -> (Parameters, Classifier<Sequential>) {
    let parameters = Parameters::new(Key::from_seed(1), dtype, &Device::Cpu);
    let model = architecture.build_for(form, parameters.var_builder()).unwrap();
    (parameters, model)
}

fn engines() -> impl Iterator<Item = Engine> {
    [Kernels::Auto, Kernels::Portable].into_iter().flat_map(|kernels| {
        [Route::Auto, Route::Ghost, Route::Instantiate].into_iter().map(move |route| Engine {
            kernels,
            route,
            ..Engine::default()
        })
    })
}

fn flat(tensors: &[Tensor]) -> Vec<f64> {
    tensors.iter().flat_map(|t| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()).collect()
}

/// The gradient of one example of a batch, and the bound on its norm.
fn gradient(
    model: &dyn Model,
    parameters: &Parameters,
    (xs, ys): (&Tensor, &Tensor),
    example: usize,
    engine: Engine,
) -> (Vec<f64>, f64) {
    let mut recorded = Recorded::new(model, parameters, xs, ys, engine).unwrap();
    let norm = recorded.norms(&vec![0; parameters.len()]).unwrap().rows().nth(example).unwrap()[0];
    let mut weights = vec![0.0; xs.dim(0).unwrap()];
    weights[example] = 1.0;
    (flat(&recorded.weighted_sum(&Weights::flat(weights, parameters.len())).unwrap()), norm)
}

#[track_caller]
fn assert_near(a: &[f64], b: &[f64], what: &str) {
    let scale = b.iter().fold(1e-12f64, |scale, x| scale.max(x.abs()));
    assert_eq!(a.len(), b.len(), "{what}");
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-10 * scale), "{what}");
}

/// Texts of five, three, one and no tokens; for language models all are full.
fn texts(form: &Form) -> (Tensor, Tensor) {
    let (p, device) = (PADDING, &Device::Cpu);
    if form.target == Target::NextToken {
        let ys = Tensor::new(&[[1u32, 2, 3, 4, 5], [7, 7, 7, 0, 10], [0, 1, 0, 1, 0]], device).unwrap();
        let xs = Tensor::new(&[[p, 1, 2, 3, 4], [p, 7, 7, 7, 0], [p, 0, 1, 0, 1]], device).unwrap();
        return (xs, ys);
    }
    let xs = Tensor::new(&[[1u32, 2, 3, 2, 5], [7, 7, 0, p, p], [10, p, p, p, p], [p; 5]], device).unwrap();
    (xs, Tensor::new(&[0u32, 1, 2, 1], device).unwrap())
}

#[test]
fn one_example_at_a_time_equals_the_batch_in_every_architecture() {
    for (architecture, form) in cases(5) {
        let (parameters, model) = built(architecture, &form, DType::F64);
        let (xs, ys) = texts(&form);
        for example in 0..xs.dim(0).unwrap() {
            let alone = (&xs.narrow(0, example, 1).unwrap(), &ys.narrow(0, example, 1).unwrap());
            let portable = Engine { kernels: Kernels::Portable, route: Route::Instantiate, ..Engine::default() };
            let (truth, _) = gradient(&model, &parameters, alone, 0, portable);
            let length = truth.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(length > 1e-3, "{architecture:?}: an example without a gradient tells nothing");
            for engine in engines() {
                let what = format!("{architecture:?} {:?} example {example} {engine:?}", form.target);
                let (found, norm) = gradient(&model, &parameters, (&xs, &ys), example, engine);
                assert_near(&found, &truth, &what);
                assert!(norm >= length * (1.0 - 1e-9) && norm <= length * (1.0 + 1e-6), "{what}: {norm} of {length}");
            }
        }
    }
}

#[test]
fn padding_changes_no_gradient() {
    let p = PADDING;
    let short = Tensor::new(&[[4u32, 2, 9]], &Device::Cpu).unwrap();
    let long = Tensor::new(&[[4u32, 2, 9, p, p, p, p]], &Device::Cpu).unwrap();
    let with_more = Tensor::new(&[[4u32, 2, 9, 9, p, p, p]], &Device::Cpu).unwrap();
    let ys = Tensor::new(&[2u32], &Device::Cpu).unwrap();
    for (architecture, form) in cases(7).into_iter().filter(|(_, form)| form.target != Target::NextToken) {
        let (parameters, model) = built(architecture, &form, DType::F64);
        for engine in engines() {
            let of = |xs: &Tensor| gradient(&model, &parameters, (xs, &ys), 0, engine).0;
            assert_near(&of(&long), &of(&short), &format!("{architecture:?} {engine:?}"));
            // The negative control: one more token that is no padding does change it.
            let differ = of(&with_more).iter().zip(&of(&short)).any(|(a, b)| (a - b).abs() > 1e-6);
            assert!(differ, "{architecture:?}");
        }
    }
}

#[test]
fn later_tokens_are_hidden_from_a_language_model() {
    for (architecture, form) in cases(5).into_iter().filter(|(_, form)| form.target == Target::NextToken) {
        let (_, model) = built(architecture, &form, DType::F64);
        // Two targets at one place differ in loss by the logits of that place alone.
        let difference = |last: u32, place: usize| {
            let loss = |target: u32| {
                let mut ys = [1u32, 2, 3, 4, 5];
                ys[place] = target;
                let xs = Tensor::new(&[[PADDING, 1, 2, 3, last]], &Device::Cpu).unwrap();
                flat(&[model.losses(&xs, &Tensor::new(&[ys], &Device::Cpu).unwrap(), &Tape::off()).unwrap()])[0]
            };
            loss(0) - loss(8)
        };
        for place in 0..5 {
            let changed = (difference(4, place) - difference(9, place)).abs();
            assert_eq!(changed > 1e-9, place == 4, "{architecture:?} at {place}: {changed}");
        }
    }
}

#[test]
fn the_probe_passes_the_architectures_and_leaves_the_parameters_as_they_were() {
    for (architecture, form) in cases(6) {
        for kernels in [Kernels::Auto, Kernels::Portable] {
            let (parameters, model) = built(architecture, &form, DType::F32);
            let before: Vec<f64> = flat(&parameters.tensors().into_values().collect::<Vec<_>>());
            let engine = Engine { kernels, ..Engine::default() };
            probe_isolation_of(&model, &parameters, &form, engine, &Key::from_seed(2)).unwrap();
            assert_eq!(flat(&parameters.tensors().into_values().collect::<Vec<_>>()), before);
        }
    }
}

/// A network of somebody's own: the mean of embeddings, with something done before and after a linear layer.
struct Own<A, B> {
    table: Embedding,
    output: Linear,
    before: A,
    after: B,
}

impl<A, B> Layer for Own<A, B>
where
    A: Fn(&Tensor) -> Result<Tensor> + Send + Sync,
    B: Fn(&Tensor) -> Result<Tensor> + Send + Sync,
{
    fn forward(&self, ids: &Tensor, tape: &Tape) -> Result<Tensor> {
        let rows = self.table.forward(&(self.before)(ids)?, tape)?;
        (self.after)(&self.output.forward(&rows.mean(1)?, tape)?)
    }
}

fn probed(
    before: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync,
    after: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync,
    from_zero: bool,
) -> dpsgd::Result<()> {
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let vb = parameters.var_builder();
    let output = if from_zero {
        Linear::new(vb.get_with_hints((3, 4), "output.weight", candle_nn::init::ZERO).unwrap(), None).unwrap()
    } else {
        linear(4, 3, vb.pp("output")).unwrap()
    };
    let model =
        Classifier::new(Own { table: embedding(VOCABULARY, 4, vb.pp("table")).unwrap(), output, before, after });
    let form = Form::tokens(6, VOCABULARY, Target::Class(3));
    probe_isolation_of(&model, &parameters, &form, Engine::default(), &Key::from_seed(2))
}

#[test]
fn the_probe_refuses_models_that_mix_texts() {
    let same = |xs: &Tensor| Ok(xs.clone());
    // Cut to the longest text of the batch: how much filler a text has depends on its company.
    let cut = |ids: &Tensor| {
        let kept: Vec<u8> = ids.ne(PADDING)?.max(0)?.to_vec1()?;
        ids.narrow(1, 0, kept.iter().filter(|kept| **kept == 1).count().max(1))
    };
    let centred = |ys: &Tensor| ys.broadcast_sub(&ys.detach().mean_keepdim(0)?);
    let within = |ys: &Tensor| ys.broadcast_sub(&ys.detach().mean_keepdim(D::Minus1)?);
    for (what, found) in [
        ("cut to the longest", probed(cut, same, false)),
        ("batch statistics", probed(same, centred, false)),
        ("batch statistics that are zero before training", probed(same, centred, true)),
    ] {
        assert!(matches!(found, Err(Error::NotIsolated { .. })), "{what}: {found:?}");
    }
    probed(same, within, false).unwrap();
    probed(same, within, true).unwrap();
}

#[test]
fn tensors_are_ids_and_language_models_see_the_token_before() {
    let here = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = here.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
    let reading = Reading {
        format: Some(dpsgd::data::Format::Text),
        vocabulary: Some(Vocabulary::words(["a", "b"]).unwrap()),
        length: Some(3),
        ..Reading::default()
    };
    let data = read(&file("lines.tsv", "a b c\tyes\nb\tno\na\tyes\nb\tno\n"), &reading).unwrap();
    let (xs, ys) = tensors(&data, &[1, 0], &parameters).unwrap();
    assert_eq!(xs.to_vec2::<u32>().unwrap(), [[1, 3, 3], [0, 1, 2]]);
    assert_eq!(ys.to_vec1::<u32>().unwrap(), [0, 1]);
    let data = read(&file("text.txt", "a b c a\nb a b\n"), &Reading { language_model: true, ..reading }).unwrap();
    let (xs, ys) = tensors(&data, &[0, 1], &parameters).unwrap();
    assert_eq!(ys.to_vec2::<u32>().unwrap(), [[0, 1, 2], [0, 1, 0]]);
    assert_eq!(xs.to_vec2::<u32>().unwrap(), [[3, 0, 1], [3, 0, 1]]);
    assert_eq!(data.form(), Form::tokens(3, 4, Target::NextToken));
}

#[test]
fn architectures_that_do_not_fit_say_which_do() {
    let refusal = |architecture: Architecture, form: &Form| {
        let parameters = Parameters::new(Key::from_seed(1), DType::F32, &Device::Cpu);
        architecture.build_for(form, parameters.var_builder()).err().unwrap().to_string()
    };
    let (numbers, texts) = (Form::numbers(&[8, 8], 2), Form::tokens(5, VOCABULARY, Target::Class(2)));
    for architecture in [Architecture::Bag, Architecture::Lstm, Architecture::Transformer] {
        let message = refusal(architecture, &numbers);
        assert!(message.contains("records are numbers; choose --model logistic, mlp, cnn"), "{message}");
    }
    for architecture in [Architecture::Logistic, Architecture::Mlp, Architecture::Cnn] {
        let message = refusal(architecture, &texts);
        assert!(message.contains("records are texts; choose --model bag, lstm, transformer"), "{message}");
    }
    let message = refusal(Architecture::Bag, &Form::tokens(5, VOCABULARY, Target::NextToken));
    assert!(message.contains("choose --model lstm or transformer"), "{message}");
}

#[cfg(feature = "cli")]
mod command_line {
    use super::super::command_line::{dpsgd, entries, json, ok};
    use std::fmt::Write;

    fn here() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut messages = String::new();
        for i in 0..60 {
            let (label, text) = if i % 2 == 0 { ("ham", "see you at \"home") } else { ("spam", "WIN a prize, call") };
            writeln!(messages, "{label}\t{text} {}", i % 7).unwrap();
        }
        let file = |name: &str, content: &[u8]| std::fs::write(directory.path().join(name), content).unwrap();
        file("messages.tsv", messages.as_bytes());
        file("words.txt", b"see\nyou\nwin\nprize\ncall\n");
        file("play.txt", "to be or not to be, that is the question\n".repeat(40).as_bytes());
        directory
    }

    const MESSAGES: &str = "train --data messages.tsv --data-format text --label first --holdout 0.2 --quiet";
    const PLAY: &str = "train --data play.txt --data-format text --language-model --vocabulary bytes --length 16 --holdout 0.2 --quiet";

    #[test]
    fn every_architecture_trains_on_texts() {
        let here = here();
        for model in ["bag", "lstm", "transformer"] {
            for vocabulary in ["words.txt", "bytes --length 20"] {
                let line = format!("{MESSAGES} --model {model} --vocabulary {vocabulary} --steps 3");
                let report = json(here.path(), &line);
                assert_eq!(report["privacy"]["steps"], 3);
                assert!(report["utility"]["test_accuracy"].as_f64().is_some(), "{report}");
                assert!(report["utility"]["test_loss"].as_f64().unwrap() > 0.0);
                assert_eq!(report["model"]["architecture"], model);
            }
        }
        let report = json(here.path(), &format!("{MESSAGES} --vocabulary words.txt --steps 3"));
        assert_eq!(report["model"]["architecture"], "bag");
        assert_eq!(report["model"]["schema"]["text"]["vocabulary"]["words"], "see you win prize call");
    }

    #[test]
    fn a_language_model_states_its_unit_and_its_perplexity() {
        let here = here();
        for model in ["lstm", "transformer"] {
            let report = json(here.path(), &format!("{PLAY} --model {model} --steps 3"));
            let number = |name: &str| report["utility"][name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
            assert!((number("test_loss").exp() - number("test_perplexity")).abs() < 1e-9);
            assert!(report["utility"]["test_accuracy"].is_null());
        }
        let statement = ok(here.path(), &format!("{PLAY} --steps 3 --out model")).stdout;
        let text = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in ["one window of 16 tokens (bytes)", "may span several windows", "test perplexity", "lstm"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("test accuracy"), "{text}");
        assert!(entries(&here.path().join("model")).contains(&"model.safetensors".to_string()));
        ok(here.path(), "verify model");
        let twin = ok(here.path(), &format!("{PLAY} --steps 3 --no-privacy")).stdout;
        assert!(twin.contains("test perplexity"), "{twin}");
    }

    #[test]
    fn texts_are_learnt() {
        let here = here();
        let report =
            json(here.path(), &format!("{MESSAGES} --vocabulary words.txt --no-privacy --epochs 100 --seed 1"));
        assert!(report["utility"]["test_accuracy"].as_f64().unwrap() > 0.9, "{report}");
        let report = json(here.path(), &format!("{PLAY} --no-privacy --steps 150 --optimizer adam --seed 1"));
        // Uniform over 256 bytes is 256; the text has 12 different ones.
        assert!(report["utility"]["test_perplexity"].as_f64().unwrap() < 8.0, "{report}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_way_out() {
        let here = here();
        std::fs::write(here.path().join("broken.tsv"), b"a\tone\nb\t\xff two\na\tthree\nb\tfour\n").unwrap();
        for (line, parts) in [
            (MESSAGES.to_string(), &["--vocabulary = absent", "never learnt from the data"][..]),
            (format!("{MESSAGES} --vocabulary no.txt"), &["no.txt", "cannot read"]),
            (format!("{MESSAGES} --vocabulary messages.tsv"), &["messages.tsv:1", "one word a line"]),
            (format!("{MESSAGES} --vocabulary bytes --length 0"), &["--length = 0"]),
            (format!("{MESSAGES} --vocabulary bytes --model cnn"), &["choose --model bag, lstm, transformer"]),
            (format!("{MESSAGES} --vocabulary bytes --range 0:1"), &["--range", "tokens and no numbers"]),
            (format!("{PLAY} --model bag"), &["choose --model lstm or transformer"]),
            (format!("{PLAY} --label first"), &["--label", "without labels"]),
            ("train --data play.txt --vocabulary bytes".into(), &["--vocabulary", "only with the format text"]),
            ("train --model lstm".into(), &["choose --model logistic, mlp, cnn"]),
            (
                "train --data broken.tsv --data-format text --label first --vocabulary words.txt".into(),
                &["broken.tsv:2", "not UTF-8", "--vocabulary bytes"],
            ),
        ] {
            let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(ran.code, Some(2), "{line}: {}", ran.stderr);
            assert!(parts.iter().all(|part| ran.first_line().contains(part)), "{line}: {}", ran.first_line());
        }
        ok(
            here.path(),
            "train --data broken.tsv --data-format text --label first --vocabulary bytes --steps 1 --delta 0.1",
        );
    }
}
