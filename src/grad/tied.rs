//! Parameters that are used more than once: tied weights, and weights unrolled over time.
//!
//! The norm of a shared parameter is that of the summed gradient of all its uses. Uses of one kind are one use at the
//! positions of all: inputs and cotangents are put side by side and the usual rule applies. A table of embeddings that is
//! also the weight of the output layer has, with gradients T of the table and W of the weight,
//! `|T + W|^2 = |T|^2 + |W|^2 + 2 <T, W>`, and only the rows of an example's own tokens enter the last term.

use super::weight::norms_of_rows;
use super::{Inputs, Rule, Table, Weight};
use crate::kernel::matmul::{View, matmul};
use crate::kernel::scatter::Rows;
use crate::kernel::team::Shared;
use crate::kernel::{Real, dispatch, read};
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// The uses of one parameter, with those of one kind made one where their records fit together: tables first.
pub(crate) fn joined(uses: Vec<(Rule, Tensor)>) -> Result<Vec<(Rule, Tensor)>> {
    if uses.len() < 2 {
        return Ok(uses);
    }
    let (mut tables, mut weights) = (Vec::new(), Vec::new());
    for (rule, cotangents) in &uses {
        match rule {
            Rule::Table(table) => tables.push((table, cotangents)),
            Rule::Weight(weight) => weights.push((weight, cotangents)),
            _ => return Ok(uses),
        }
    }
    let mut joined = Vec::new();
    match tables.as_slice() {
        [] => {}
        [(table, cotangents)] => joined.push((Rule::Table((*table).clone()), (*cotangents).clone())),
        tables => match Table::joined(tables)? {
            Some((table, cotangents)) => joined.push((Rule::Table(table), cotangents)),
            None => return Ok(uses),
        },
    }
    match weights.as_slice() {
        [] => {}
        [(weight, cotangents)] => joined.push((Rule::Weight((*weight).clone()), (*cotangents).clone())),
        weights => match joined_weights(weights)? {
            Some((weight, cotangents)) => joined.push((Rule::Weight(weight), cotangents)),
            None => return Ok(uses),
        },
    }
    Ok(joined)
}

/// Uses of one weight as a single use at the positions of all, if their records have one form.
fn joined_weights(uses: &[(&Weight, &Tensor)]) -> Result<Option<(Weight, Tensor)>> {
    let Some((first, _)) = uses.first() else { return Ok(None) };
    let form = |weight: &Weight| (weight.groups, weight.p, weight.d, weight.channels_last);
    let (mut rows, mut portable, mut cotangents) = (Vec::new(), Vec::new(), Vec::new());
    let Weight { groups, p, d, channels_last, .. } = **first;
    for (weight, g) in uses {
        if form(weight) != form(first) {
            return Ok(None);
        }
        let (batch, t) = (g.dim(0)?, weight.positions);
        match &weight.inputs {
            Inputs::Rows(a) => rows.push(a.contiguous()?.reshape((batch, t, d))?),
            Inputs::Portable(a) => portable.push(a.clone()),
            // Patches are gathered from each image anew; two images cannot stand side by side.
            Inputs::Images(..) => return Ok(None),
        }
        let shape = if channels_last { (batch, t, groups * p) } else { (batch, groups * p, t) };
        cotangents.push(g.contiguous()?.reshape(shape)?);
    }
    let inputs = match (rows.is_empty(), portable.is_empty()) {
        (false, true) => Inputs::Rows(Tensor::cat(&rows, 1)?),
        (true, false) => Inputs::Portable(Tensor::cat(&portable, 2)?),
        _ => return Ok(None),
    };
    let positions = uses.iter().map(|(weight, _)| weight.positions).sum();
    let cotangents = Tensor::cat(&cotangents, if channels_last { 1 } else { 2 })?;
    Ok(Some((Weight { inputs, positions, input_norms: None, ..(*first).clone() }, cotangents)))
}

/// Whether a table and a weight are the same parameter in the same shape, and cost less apart than instantiated.
pub(crate) fn measured_apart(table: &Table, weight: &Weight) -> bool {
    let same = weight.groups == 1 && weight.channels_last;
    let same = same && (weight.p, weight.d) == (table.tokens.vocabulary(), table.dim);
    same && !matches!(weight.inputs, Inputs::Images(..)) && weight.ghost()
}

/// Upper bounds on the norms of the summed gradients of a table and a weight that are [`measured_apart`].
///
/// With n = d + (tokens)(positions) roundings behind it, the inner product in f64 is off by at most n roundings of
/// |T| |A| |G| (Cauchy-Schwarz over tokens and positions); |A| |G| bounds |W|. The two f64 sums that follow lose at most
/// one rounding per position, and one more where they are added.
pub(crate) fn norms(table: (&Table, &Tensor), weight: (&Weight, &Tensor)) -> Result<Vec<f64>> {
    let ((rule, g), (batch, t)) = (weight, (weight.1.dim(0)?, weight.0.positions));
    let a = match &rule.inputs {
        Inputs::Rows(a) | Inputs::Portable(a) => a.to_device(&Device::Cpu)?.to_dtype(DType::F64)?,
        Inputs::Images(..) => candle_core::bail!("the inputs of a table's twin are rows"),
    };
    let a = a.contiguous()?.reshape((batch, t * rule.d))?;
    let (a_norms, g_norms) = (norms_of_rows(&a)?, norms_of_rows(&g.contiguous()?.reshape((batch, ()))?)?);
    let (tables, weights) = (table.0.norms(table.1)?, rule.ghost_norms(g)?);
    let crosses = dispatch!(g.dtype(), inner_products(table, rule, &a, g))?;
    let bound = |i: usize| {
        let (table, weight, (cross, terms), product) = (tables[i], weights[i], crosses[i], a_norms[i] * g_norms[i]);
        let later = (t + 16) as f64 * f64::EPSILON * (table + product);
        let apart = (table + weight) * (1.0 + 4.0 * f64::EPSILON) + later;
        // Where squares would overflow or vanish, the triangle inequality is the answer.
        if !(1e-100..1e100).contains(&(table + product)) {
            return apart;
        }
        let error = (rule.d + terms + 4) as f64 * f64::EPSILON * table * product;
        let square = (table * table + weight * weight + 2.0 * (cross + error)).max(0.0);
        // The four terms of the square are rounded relative to the larger (|T| + |W|)^2.
        let rounded = 8.0 * f64::EPSILON * (table + weight) * (table + weight);
        apart.min((square + rounded).sqrt() * (1.0 + 4.0 * f64::EPSILON) + later)
    };
    Ok((0..batch).map(bound).collect())
}

/// `<T, W>` of every example, and of how many terms it is the sum.
fn inner_products<T: Real>(
    (table, table_cotangents): (&Table, &Tensor),
    weight: &Weight,
    a: &Tensor,
    g: &Tensor,
) -> Result<Vec<(f64, usize)>> {
    let (t, d, p) = (weight.positions, weight.d, weight.p);
    let (table_cotangents, g) = (table_cotangents.to_device(&Device::Cpu)?, g.to_device(&Device::Cpu)?);
    let lookup = table.lookup();
    let inner = |cotangents: &[T], a: &[f64], g: &[T], example: usize, (rows, products): &mut (Rows, Vec<f64>)| {
        lookup.rows(cotangents, example, rows);
        let (a, g) = (&a[example * t * d..][..t * d], &g[example * t * p..][..t * p]);
        // Row u of the products holds <T_u, a_t> for every position t.
        products.clear();
        products.resize(rows.tokens.len() * t, 0.0);
        let sums = View::row_major(&rows.sums, rows.tokens.len(), d);
        matmul(products, sums, View::row_major(a, t, d).t(), false);
        let at = |token: u32, position: usize| crate::kernel::to_f64(g[position * p + token as usize]);
        let terms = rows.tokens.iter().zip(products.chunks_exact(t.max(1)));
        let sum = terms.flat_map(|(token, products)| {
            products.iter().enumerate().map(|(position, product)| product * at(*token, position))
        });
        (sum.sum::<f64>(), products.len())
    };
    read(&table_cotangents.contiguous()?, |cotangents: &[T]| {
        read(a, |a: &[f64]| {
            read(&g.contiguous()?, |g: &[T]| {
                let examples = (0..lookup.batch).into_par_iter();
                let inner = |scratch: &mut _, example| inner(cotangents, a, g, example, scratch);
                Ok(examples.gather_with(Default::default, inner))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::{Route, Tokens};
    use crate::kernel::norm_bound;
    use crate::kernel::scatter::Spread;

    /// A table of 4 tokens with 2 elements, one example of 3 positions in both uses, the weight's cotangents times `scale`.
    fn pair(scale: f32) -> ((Table, Tensor), (Weight, Tensor)) {
        let ids = Tensor::from_slice(&[1u32, 3, 1], (1, 3), &Device::Cpu).unwrap();
        let tokens = Tokens::new("embedding", &ids, 4).unwrap();
        let table = Table { tokens, dim: 2, padding: None, spread: Spread::Each };
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
        let table_cotangents = tensor(&[1.0, 2.0, -0.5, 3.0, 0.25, -1.0], &[1, 3, 2]);
        // The weight's gradient is minus the table's where the scale is one: inputs are its cotangents, and its cotangents
        // are minus one at the token of each position.
        let mut g = vec![0.0; 12];
        [1, 3, 1].iter().enumerate().for_each(|(position, token)| g[position * 4 + token] = -scale);
        let inputs = Inputs::Rows(table_cotangents.clone());
        let route = Route::Ghost;
        let weight =
            Weight { inputs, groups: 1, positions: 3, d: 2, p: 4, channels_last: true, route, input_norms: None };
        ((table, table_cotangents), (weight, tensor(&g, &[1, 3, 4])))
    }

    #[test]
    fn the_bound_holds_where_the_uses_cancel_and_at_every_scale() {
        for scale in [1.0f32, -1.0, 0.5, 1.0 + 1e-6, 1e-30, 1e30] {
            let ((table, tg), (weight, wg)) = pair(scale);
            let bound = norms((&table, &tg), (&weight, &wg)).unwrap()[0];
            let sums = [table.weighted_sum(&tg, &[1.0]).unwrap(), weight.weighted_sum(&wg, &[1.0]).unwrap()];
            let sum: Vec<f64> = (&sums[0] + &sums[1]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let added = norm_bound(sum.into_iter()) / (1.0 + 1e-13);
            assert!(added <= bound, "{scale}: {added} and its bound {bound}");
            // Where all cancels, what is left of the bound is the rounding of f32 Gram matrices: the root of ten roundings,
            // 8e-4, times |A| |G|, here 6.8 times the scale. Where their elements could overflow, the norm of the weight is
            // bounded by |A| |G| itself.
            let loose = if scale > 1e15 { 2.0 } else { 1e-5 };
            let rounding = 8e-4 * 6.8 * f64::from(scale.abs());
            assert!(bound <= added * (1.0 + loose) + rounding, "{scale}: {bound} is far above {added}");
        }
    }

    #[test]
    fn weights_of_two_uses_are_one_weight_at_the_positions_of_both() {
        let (_, (weight, g)) = pair(2.0);
        let both = joined(vec![(Rule::Weight(weight.clone()), g.clone()), (Rule::Weight(weight.clone()), g.clone())]);
        let [(Rule::Weight(both), joined_g)] = &both.unwrap()[..] else { panic!("not one weight") };
        assert_eq!((both.positions, joined_g.dims()), (6, &[1, 6, 4][..]));
        let (one, two) = (weight.ghost_norms(&g).unwrap()[0], both.ghost_norms(joined_g).unwrap()[0]);
        assert!((two - 2.0 * one).abs() < 1e-4 * one, "{two} is not twice {one}");
        let other = Weight { p: 2, d: 4, ..weight.clone() };
        let apart = vec![(Rule::Weight(weight), g.clone()), (Rule::Weight(other), g)];
        assert_eq!(joined(apart).unwrap().len(), 2);
    }
}
