use super::*;

const CELLS: [Cell; 4] = [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu];

fn numbers(count: usize, step: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * step + 5) % 101) as f64 / 101.0 - 0.5).collect()
}

/// Hidden states, cotangents of both parts and of the inputs, for examples `from..to` of a batch.
fn run(cell: Cell, from: usize, to: usize) -> [Vec<f64>; 4] {
    let (time, d, hidden, batch) = (4, 3, 5, to - from);
    let width = cell.gates() * hidden;
    let (w_ih, w_hh, bias) = (numbers(width * d, 37), numbers(width * hidden, 29), numbers(width, 23));
    let (b_ih, b_hh) = (Some(&bias[..]), None);
    let kernel = Recurrence { cell, time, d, hidden, w_ih: &w_ih, w_hh: &w_hh, b_ih, b_hh };
    let (xs, cotangents) = (numbers(to * time * d, 17), numbers(to * time * hidden, 13));
    let Forward { hidden: states, kept } = kernel.forward(&xs[from * time * d..], batch, true);
    let kept: Vec<&[f64]> = kept.iter().map(Vec::as_slice).collect();
    let of = kernel.backward(&kept, &cotangents[from * time * hidden..]);
    let of_xs = kernel.input_cotangents(&of.inputs);
    [states, of.hidden.unwrap_or_default(), of.inputs, of_xs]
}

#[test]
fn an_example_in_a_batch_of_several_blocks_is_as_if_alone() {
    let batch = 67;
    assert!(batch > 2 * examples_per_block(batch) && !batch.is_multiple_of(examples_per_block(batch)));
    for cell in CELLS {
        let together = run(cell, 0, batch);
        for example in 0..batch {
            for (together, alone) in together.iter().zip(run(cell, example, example + 1)) {
                let mine = &together[example * alone.len()..];
                assert!(mine.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-13), "{cell:?} {example}");
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let with = |threads: usize, cell: Cell| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| run(cell, 0, 67))
    };
    for cell in CELLS {
        assert_eq!(with(1, cell), with(3, cell), "{cell:?}");
    }
}

#[test]
fn nothing_is_kept_for_an_evaluation() {
    let (weights, xs) = ([0.5], numbers(20, 7));
    let (w_ih, w_hh) = (&weights[..], &weights[..]);
    let kernel = Recurrence { cell: Cell::Tanh, time: 2, d: 1, hidden: 1, w_ih, w_hh, b_ih: None, b_hh: None };
    let (kept, evaluated) = (kernel.forward(&xs, 10, true), kernel.forward(&xs, 10, false));
    assert_eq!(kept.hidden, evaluated.hidden);
    assert!(evaluated.kept.iter().all(Vec::is_empty) && kept.kept.iter().map(Vec::len).sum::<usize>() == 20);
}

#[test]
fn saturated_gates_are_numbers() {
    // The largest inputs drive every exponential to zero or infinity.
    let weights = [1.0f32; 4];
    let (w_ih, w_hh) = (&weights[..], &weights[..]);
    let kernel = Recurrence { cell: Cell::Lstm, time: 2, d: 1, hidden: 1, w_ih, w_hh, b_ih: None, b_hh: None };
    let states = kernel.forward(&[1e30, 1e30, -1e30, -1e30], 2, true);
    assert!((states.hidden[0] - 1f32.tanh()).abs() < 1e-6 && (states.hidden[1] - 2f32.tanh()).abs() < 1e-6);
    assert_eq!(states.hidden[2..], [0.0, 0.0]);
    let kept: Vec<&[f32]> = states.kept.iter().map(Vec::as_slice).collect();
    assert!(kernel.backward(&kept, &[1.0; 4]).inputs.iter().all(|g| g.is_finite()));
}
