"""The mistakes that `tests.mutations` makes on purpose, each with the tests that must notice it."""

from dataclasses import dataclass

ENGINE, REPLAY, METHOD = "benchmark/engine/intervention.py", "benchmark/engine/replay.py", "benchmark/engine/method.py"
INTEGRALS, REFINED = "benchmark/engine/integrals.py", "tests/engine/test_integrals.py"
RUNNER, CELL, FOLDER = "benchmark/running/runner.py", "benchmark/store/cell.py", "benchmark/store/folder.py"
MEANS, STATISTICS = "benchmark/engine/means.py", "benchmark/statistics"

ORACLES, IDENTITIES = "tests/methods/test_oracles.py", "tests/methods/test_identities.py"
SPARE_BOS = f"{ORACLES}::test_zero_and_mean_replacement_equal_the_obvious_loop_and_spare_the_bos"
LOOP = f"{ORACLES}::test_activation_patching_of_neurons_equals_the_obvious_loop"
EVERY_KIND = "tests/engine/test_kinds.py::test_exact_patching_is_what_a_plain_loop_gives"
ALIGNED = "tests/tracing/test_trace.py::test_prompts_of_different_lengths_are_patched_where_positions_are_the_same"
FEATURES, PARTS = "tests/engine/test_features.py", "benchmark/engine/parts.py"
MASKED = f"{FEATURES}::test_any_mask_gives_what_the_formulas_give"
ONE_ZERO = f"{FEATURES}::test_patching_one_feature_or_the_error_is_a_mask_with_one_zero"
RESUMING = "tests/engine/test_replay.py::test_resuming_equals_running_from_the_start"
NO_SCORE = "tests/engine/test_replay.py::test_no_score_depends_on_the_shortcuts"
PROMISES, RUNS = "tests/methods/test_promises.py", "tests/running/test_runner.py"
IN_ORDER = f"{PROMISES}::test_scores_and_metrics_come_in_the_order_of_the_pairs_though_they_run_by_length"
MEASURE, MEASURED, TOKENED = (
    "benchmark/engine/measure.py",
    "tests/engine/test_measure.py",
    "tests/prompts/test_tokens.py",
)
KINDS, TOKENS = "benchmark/engine/kinds.py", "benchmark/prompts/tokens.py"
PAIRS = "benchmark/prompts/pairs.py"
LAYOUT = f"{MEASURED}::test_every_layout_is_right_or_refused_with_a_reason"
DAMAGED = f"{RUNS}::test_a_damaged_cell_is_named_and_computed_again"

CURVES, ORDERS = "benchmark/statistics/faithfulness.py", "benchmark/faithfulness/orders.py"
MEASURING, VALUES = "benchmark/faithfulness/measuring.py", "benchmark/faithfulness/values.py"
IN_CURVES, IN_ORDERS = "tests/statistics/test_faithfulness.py", "tests/faithfulness/test_orders.py"
IN_VALUES, IN_MEASURING = "tests/faithfulness/test_values.py", "tests/faithfulness/test_measuring.py"


@dataclass(frozen=True)
class Mutant:
    """One wrong replacement in one file. `old` occurs there exactly once; one of `tests` must fail on `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    breaks: str


MUTANTS = (
    Mutant("sign", ENGINE, "self.sign = 1 if noising else -1", "self.sign = 1", (f"{LOOP}[llama-denoising]",),
           "Denoising scores have the sign of noising ones."),
    Mutant("exchanged", ENGINE, 'noising = request.direction == "noising"', 'noising = request.direction != "noising"',
           (f"{LOOP}[llama-noising]",), "Noising is done where denoising was asked for, and the other way round."),
    Mutant("joint", ENGINE, "lives[number, site] = rows.detach()",
           "lives[number, site] = self.live[site][move.pairs, -live.shape[1] :]",
           (f"{IDENTITIES}::test_joint_path_ig_sums_to_all_components_replaced[llama-noising-counterfactual]",),
           "The joint path takes the traced difference in place of the live one, and isn't complete."),
    Mutant("bos", ENGINE, "self.replacement[site][:, : batch.bos] = self.live[site][:, : batch.bos]", "pass",
           (f"{SPARE_BOS}[True-zero]",), "A prepended BOS is replaced too."),
    Mutant("prefix", ENGINE, "self.prefix = batch.first_difference(noising)",
           "self.prefix = batch.first_difference(noising) + 1",
           (f"{NO_SCORE}[llama-noising-counterfactual-logit_diff]",),
           "The first position at which the prompts differ is taken from the cache, so that its edit is lost."),
    Mutant("prefix of zero", ENGINE, "self.prefix = 0  # zero and mean",
           "self.prefix = batch.first_difference()  # zero and mean",
           (f"{NO_SCORE}[llama-noising-zero-prob_diff]",),
           "Zero and mean replacements leave out the positions that two prompts share."),
    Mutant("refined by sums", INTEGRALS, "np.maximum(exact, _OVERSTATED * estimate)", "exact",
           (f"{REFINED}::test_errors_that_cancel_between_components_are_seen_in_the_coarse_rule",),
           "Integrals are refined until slopes sum to the change of F, whatever single components' errors are."),
    Mutant("refined by rules", INTEGRALS, "np.maximum(exact, _OVERSTATED * estimate)", "estimate",
           (f"{REFINED}::test_what_falls_between_the_nodes_is_seen_in_the_change_of_the_value",),
           "Integrals are refined until two rules agree, whatever falls between the nodes of both."),
    Mutant("not finite", INTEGRALS, "done = (total <= self.tolerance) | costly | lost",
           "done = (total <= self.tolerance) | costly",
           (f"{REFINED}::test_what_is_not_finite_stays_so_and_leaves_the_other_paths_alone",),
           "An integral that isn't finite is a score of 0."),
    Mutant("halves exchanged", INTEGRALS, "cut._replace(high=middle).join(cut._replace(low=middle))",
           "cut._replace(low=middle).join(cut._replace(high=middle))",
           (f"{REFINED}::test_a_steep_place_is_found_and_others_cost_nothing",),
           "F at the ends of halved intervals is that of other ends."),
    Mutant("quadrature", INTEGRALS, "tuple(weights / 2)", "tuple(weights * 0 + 1 / steps)",
           (f"{IDENTITIES}::test_gauss_legendre_is_exact_for_polynomials_and_sums_to_one",),
           "All nodes of an integral weigh the same."),
    Mutant("cache", REPLAY, "values[seen, :, :prefix]", "values[seen.roll(1), :, :prefix]",
           (f"{RESUMING}[llama-layers+prefix]",), "Rows find the cached values of another pair."),
    Mutant("last position", REPLAY, "whole(value[:, -1:],", "whole(value[:, :1],",
           (f"{RESUMING}[llama-last position]",), "The last block's shortcut computes the first position."),
    Mutant("answers", REPLAY, "part[vocabulary] for part", "part[vocabulary.flip(0)] for part",
           (f"{RESUMING}[llama-layers+site+prefix+last position+answers]",),
           "Answers get the logits of one another."),
    Mutant("site", REPLAY, "recording.attention[lowest][", "recording.attention[lowest - 1][",
           (f"{RESUMING}[llama-layers+site]",), "Attention's output comes from another layer of the traced run."),
    Mutant("site's activation", REPLAY, "recording.activations[Site(kinds[0], lowest)]",
           "recording.activations[Site(kinds[0], max(0, lowest - 1))]", (f"{RESUMING}[llama-layers+site]",),
           "The site's own activation comes from another layer of the traced run."),
    Mutant("rounding moves", ENGINE, "torch.where(alike, self.live[site], value)", "value",
           ("tests/methods/test_pocket_features.py::test_which_features_move_does_not_depend_on_the_pairs_beside_one",),
           "What two runs round differently before a pair's first difference counts as a move."),
    Mutant("error", PARTS, "(1 - error[..., None]) * whole", "whole",
           (f"{MASKED}[noising with counterfactual]",), "A dictionary's error is replaced whatever its m."),
    Mutant("base scale", PARTS, "self.dictionary.scale(self.base[pairs, -length:][:, :, 0])",
           "self.dictionary.scale(self.replacement[pairs, -length:][:, :, 0])",
           (f"{MASKED}[layer_norm-denoising with counterfactual]",),
           "A dictionary's input is normalised as the other prompt's."),
    Mutant("constant feature", PARTS, "self.fixed - (self.base.shape[1] - length)", "0",
           (f"{MASKED}[noising with zero]",), "Features at a BOS are replaced by a constant too."),
    Mutant("one feature", PARTS, "self.dictionary.decoder[one][:, None]", "self.dictionary.encoder.T[one][:, None]",
           (f"{ONE_ZERO}[noising with counterfactual]",), "A patched feature takes out what it reads."),
    Mutant("threshold", "benchmark/engine/dictionary.py", "before.relu() * (before > self.threshold[at])",
           "(before - self.threshold[at]).relu()", (f"{MASKED}[jumprelu-noising with counterfactual]",),
           "A jump ReLU subtracts its threshold."),
    Mutant("place", "benchmark/engine/moves.py", "else length - self.positions", "else length - 1 - self.positions",
           (f"{EVERY_KIND}[llama-noising with counterfactual]",), "A place is patched one position too early."),
    Mutant("last only", KINDS, '("attn.k.hook_out",), "mixed", last_only=False', '("attn.k.hook_out",), "mixed"',
           (f"{EVERY_KIND}[llama-noising with counterfactual]",),
           "In the last layer, keys of positions before the last one are held to do nothing."),
    Mutant("unpatched", ENGINE, "self.unpatched = logits", "self.unpatched = None",
           ("tests/engine/test_kinds.py::test_the_value_under_any_mask_is_that_of_an_obvious_edit"
            "[kl-denoising with counterfactual]",), "Denoising measures the distance from the corrupted prompt."),
    Mutant("all positions", REPLAY, "torch.cat([recording.logits[rows, :prefix], logits], dim=1)",
           "torch.cat([recording.logits[rows.flip(0), :prefix], logits], dim=1)",
           (f"{NO_SCORE}[llama-noising-counterfactual-log_likelihood]",),
           "A metric over all positions takes those before the edit from another pair."),
    Mutant("partners", ENGINE, "self.replacement[site][:, here] = other[:, there]",
           "self.replacement[site][:, here] = other[:, here]", (f"{ALIGNED}[mlp-end]",),
           "Prompts of different lengths are patched by position, whatever was aligned."),
    Mutant("partners turned", ENGINE, "batch.partners if noising else tuple(", "batch.partners if True else tuple(",
           (f"{ALIGNED}[mlp-end]",), "Denoising takes the clean prompt's positions for the corrupted one's."),
    Mutant("stream", "benchmark/engine/measure_stream.py", "if not (output[-1] - output[0]).abs().max()",
           "if not (output[-1] - output[0] + 1).abs().max()",
           (f"{LAYOUT}[distances in the attention]",), "Whatever stands at a hook passes for what joins the stream."),
    Mutant("own heads", "benchmark/engine/measure_mixed.py",
           "if found - own and name not in wrong:", "if not found and name not in wrong:",
           (f"{LAYOUT}[norms after the parts]",), "Queries that change other heads' patterns pass for theirs."),
    Mutant("ov centred", "benchmark/engine/weights.py", "written = final.centred(", "written = (",
           ("tests/tracing/test_trace.py::test_an_ov_circuit_is_the_product_of_the_weights[gpt2]",),
           "What a head writes keeps the mean that the final norm takes off."),
    Mutant("rounding", "benchmark/engine/measure_stream.py", " + ROUNDING * step * want.abs().max()", "",
           ("tests/engine/test_replay.py::test_edits_that_only_round_cost_no_shortcut",),
           "An edit that does nothing but round costs a model its shortcuts."),
    Mutant("mean", MEANS, "for prompts in (batch.clean, batch.corrupted):", "for prompts in (batch.clean, None):",
           ("tests/methods/test_known_mistakes.py::test_a_mean_is_taken_per_component_and_over_every_position",),
           "Means leave out the corrupted prompts."),
    Mutant("mean with bos", MEANS, "count += prompts[:, batch.bos :].numel()", "count += prompts.numel()",
           (f"{SPARE_BOS}[True-mean]",), "Means are divided by the number of positions with the BOS."),
    Mutant("row order", METHOD, "for _, part in parts])[order]", "for _, part in parts])", (IN_ORDER,),
           "Scores come in the order of the batches, beside the pairs' own names."),
    Mutant("pairs lost", METHOD, "waiting = list(pairs.batches(chunk.pairs))[::-1]",
           "waiting = list(pairs.batches(chunk.pairs))[:0:-1]", (IN_ORDER,), "The first batch is never scored."),
    Mutant("pairs lost on retry", METHOD, "                waiting.append(batch)\n", "",
           ("tests/engine/test_memory.py::test_an_allocation_that_fails_halves_the_chunk_and_loses_nothing",),
           "A batch for which memory ran out is left out."),
    Mutant("pairs lost on splitting", METHOD, "waiting += batch.split(chunk.pairs)[::-1]",
           "waiting += batch.split(chunk.pairs)[:1]",
           ("tests/engine/test_memory.py::test_an_allocation_that_fails_halves_the_chunk_and_loses_nothing",),
           "Of a batch that is split only the first part is scored."),
    Mutant("known metrics", METHOD, "behaviour = known or metrics(",
           "behaviour = {n: v.flip(0) for n, v in (known or {}).items()} or metrics(",
           ("tests/running/test_work.py::test_work_sent_elsewhere_gives_the_bits_of_the_stored_cell[counterfactual]",),
           "Metrics that the plan took come in another order than the pairs."),
    Mutant("chunk", RUNNER, 'return Chunk(**runs[-1]["resolved"]["chunk"]) if runs else None', "return None",
           (f"{RUNS}::test_the_chunk_size_of_an_interrupted_run_is_used_again",),
           "A resumed run chooses its chunk anew, and with it other last bits."),
    Mutant("failed cell", RUNNER, "return stored.error is None and stored", "return stored",
           (f"{RUNS}::test_a_failed_cell_stops_no_other_and_is_tried_again",), "A failed cell is taken as done."),
    Mutant("one pair decides", f"{STATISTICS}/influence.py", "return self.share > DECIDES", "return False",
           ("tests/statistics/test_influence.py::"
            "test_where_one_pair_decides_either_method_the_interval_is_withheld_with_the_reason",),
           "An interval is shown though one pair decides."),
    Mutant("too few pairs", f"{STATISTICS}/halves.py", "if n_pairs < FEWEST_PAIRS or", "if n_pairs < 2 or",
           ("tests/statistics/test_inference.py::test_too_few_pairs_or_clusters_give_no_interval_and_say_so",),
           "An interval is shown though there are too few pairs."),
    Mutant("digest of scores", FOLDER, 'if sha256(scores) != info["scores_sha256"]:', "if not scores:",
           (f"{DAMAGED}[edited scores]",), "Scores that were changed after they were written are read."),
    Mutant("digest of cell", FOLDER, "if not intact:", "if not body:", (f"{DAMAGED}[edited cell]",),
           "A cell's facts that were changed after they were written are read."),
    Mutant("sparse", CELL, 'absent = axes_of(name).absent if array.dtype.kind == "f" else 0', "absent = 0.0",
           (f"{RUNS}::test_a_sample_of_neurons_is_stored_with_its_probability",),
           "What wasn't measured is read as 0."),
    Mutant("seed", CELL, 'return sha256(_KEY.dump_python(self, mode="json"))',
           'return sha256(_KEY.dump_python(self, mode="json", exclude={"method": {"seed"}}))',
           ("tests/store/test_cell.py::test_whatever_a_key_names_changes_its_digest",),
           "Scores of another seed are served from an old cell."),
    Mutant("heads believed", KINDS, "if not _mixed_alike(seen, heads):", "if False:",
           (f"{LAYOUT}[a gate behind attention]",), "Any slices of the projection's input pass for heads."),
    Mutant("counts believed", KINDS, "return seen.claimed if seen.patterns is None else seen.patterns",
           "return 2 * seen.claimed", (f"{LAYOUT}[latent attention]",), "Heads aren't counted by their patterns."),
    Mutant("entering", MEASURE, "or not torch.allclose(entered.flatten(), edited.flatten())", "",
           (f"{MEASURED}::test_neurons_that_are_changed_on_their_way_to_the_projection_are_refused",),
           "A change at a site needn't be what the projection takes in."),
    Mutant("train mode", "benchmark/engine/model.py", "_parts(self.bridge, self._original)",
           "(self.bridge, self._original)", (f"{MEASURED}::test_one_part_in_train_mode_is_enough_to_refuse",),
           "One dropout in train mode goes unseen."),
    Mutant("own prefix", TOKENS, "return tuple(special[:start])", "return tuple(special[:start][-1:])",
           (f"{TOKENED}::test_the_prefix_is_what_the_tokenizer_puts_in_front",),
           "Of two tokens that a tokenizer puts in front one is lost."),
    Mutant("joining", TOKENS, "or None if ids[: len(before)] == before else None for", "or None for",
           (f"{TOKENED}::test_an_answer_that_goes_on_inside_a_word_is_not_taken_from_its_middle",),
           "An answer that joins with its prompt is taken from the middle of a word."),
    Mutant("positions", PAIRS, "and longest > tokens.positions", "and longest > 2 * tokens.positions",
           (f"{TOKENED}::test_prompts_beyond_the_models_positions_or_embedding_are_dropped_rows_and_no_more",),
           "Prompts longer than the model has positions are kept."),
    Mutant("made up", "benchmark/models/loading.py",
           'for what in ("missing_keys", "mismatched_keys")', "for what in ()",
           ("tests/models/test_loading.py::test_weights_that_the_files_lack_are_refused",),
           "Weights that the files lack are drawn at random."),
    Mutant("at chance", "benchmark/running/caveats.py", "if low > CHANCE:", "if high > CHANCE:",
           ("tests/running/test_caveats.py::test_a_model_at_chance_or_below_is_said_to_be",),
           "A model at chance passes for one that can do the task."),
    Mutant("antithetic", "methods/shapley.py", "found += [order, order[::-1]]", "found += [order, order]",
           ("tests/methods/test_shapley.py::test_one_order_and_its_reverse_are_exact_where_components_interact_in_pairs",),
           "An order is followed by itself, not by its reverse."),
    Mutant("null player", "methods/shapley.py", "(values.diff(dim=-1) * changed)", "values.diff(dim=-1)",
           (f"{PROMISES}::test_every_method_passes_the_conformance_checks"
            "[zero-where-nothing-changes-shapley:permutations=1]",),
           "A component that never changes has a Shapley value of rounding size."),
    Mutant("start of a mask", ENGINE, "rows = starts == layer", "rows = starts >= layer",
           ("tests/engine/test_kinds.py::test_a_row_starts_where_its_mask_first_says_anything",),
           "Masks are run again from every layer below their own."),
    Mutant("interaction", "benchmark/interactions/effects.py", "self.of(a) + self.of(b) - self.of(a, b)",
           "self.of(a) - self.of(a, b)",
           ("tests/interactions/test_interactions.py::test_planted_gates_are_named_and_nothing_else"
            "[and-gate-noising-L0H0 L1H1-1-AND partner]",),
           "An interaction leaves out the effect of one of the two."),
    Mutant("mean of ratios", CURVES, "return np.where(gap != 0, kept / gap, np.nan)",
           "return np.einsum('...p,dp->d...', (values - low) / (everything - low), shares)", (IN_CURVES,),
           "Faithfulness is a mean of the pairs' ratios."),
    Mutant("distance", CURVES, "np.abs(1 - phi)", "(1 - phi)", (IN_CURVES,),
           "CMD lets what exceeds the model make up for what falls short."),
    Mutant("rounded sizes", CURVES, "int(share * components)", "round(share * components)", (IN_CURVES,),
           "MIB's sizes are rounded, where it cuts them."),
    Mutant("denoised circuit", VALUES, "~sets if self.request.direction == DENOISING.direction else sets", "sets",
           (f"{IN_VALUES}::test_ends_are_exact_and_all_but_one_is_exact_patching",),
           "Denoising, a circuit is what isn't restored."),
    Mutant("forgetful", VALUES, "for bits in np.packbits(sets, axis=1)", "for bits in sets.sum(axis=1)",
           (f"{IN_VALUES}::test_a_whole_site_out_is_the_sites_patch",),
           "Sets of the same size are taken for the same set."),
    Mutant("smallest first", ORDERS, "len(scores)), -scores))", "len(scores)), scores))", (IN_ORDERS,),
           "The weakest components are kept first."),
    Mutant("early layers", ORDERS, "np.random.default_rng(seed).permutation(len(scores)), -scores",
           "np.arange(len(scores)), -scores", (IN_ORDERS,), "Ties go to early layers."),
    Mutant("unmatched sign", ORDERS, "players.layer, np.sign(scores)])", "players.layer, np.sign(scores) ** 2])",
           (IN_ORDERS,), "Matched orders mix signs."),
    Mutant("same split", "benchmark/faithfulness/grounds.py",
           'split = "discovery" if key.task.split == "evaluation" else "evaluation"', "split = key.task.split",
           (f"{IN_MEASURING}::test_a_search_is_made_on_the_pairs_that_were_scored_and_is_no_worse_than_its_first_step",),
           "Circuits are measured on the pairs that they were found on: that is refused."),
    Mutant("others out", "benchmark/faithfulness/sources.py", "[kept, ~kept, without]", "[kept, kept, without]",
           (f"{IN_MEASURING}::test_numbers_of_the_best_and_of_chance_are_the_ends_of_the_scale",),
           "What is left without a circuit is the circuit itself."),
    Mutant("lost orders", MEASURING, "known=known, keep=keep", "keep=keep",
           (f"{IN_MEASURING}::test_a_killed_run_loses_one_order_at_most",),
           "What a killed run has measured is measured again."),
    Mutant("overshooting", CURVES, "kept = np.minimum(phi, 1)", "kept = phi", (IN_CURVES,),
           "The best circuit is one that pushes beyond the model."),
    Mutant("noise", "benchmark/analysis/circuits.py", "None if np.isnan(low) else", "True if np.isnan(low) else",
           (f"{IN_MEASURING}::test_a_run_with_circuits_measures_its_own_cells_in_their_way_and_says_so",),
           "Where too few pairs tell whether there is anything to keep, nothing says so."),
    Mutant("whole folder", "benchmark/cli.py", "measure(mine, wanted", "measure(results, wanted",
           (f"{IN_MEASURING}::test_a_run_with_circuits_measures_its_own_cells_in_their_way_and_says_so",),
           "A run measures the circuits of all that lies in its folder."),
)  # fmt: skip
