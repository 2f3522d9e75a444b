import { engine, type Tensor } from '@tensorflow/tfjs-core';
import type { Attachment } from '../contract/strategy.js';
import type { Named } from './named.js';
import { pathsBetween } from './tape.js';

/** So many terms of a source are checked: the first ones may be constant, for example in a batch of short replies. */
const CHECKED_TERMS = 8;

/** Finds terms of the loss that change nothing: they depend on no trained parameter, or never exist. */
export interface LossTerms {
  /**
   * Checks a term of a callback; undefined if the callback adds none to this microbatch. Call while the tape records
   * the loss.
   */
  ofCallback(plugin: string, term: Tensor | undefined): void;
  /** Checks the penalty of a strategy. Call while the tape records it. */
  ofStrategy(attachment: Attachment, term: Tensor): void;
  /** Warns about the sources that never added a term with a gradient. Call after the last step. */
  finish(): void;
}

/**
 * Creates the check of a run's loss terms. It warns once about each source whose terms are constant, and ends as soon
 * as one of them is not.
 *
 * @param trained returns the trained parameters
 */
export function createLossTerms(
  attachments: readonly Named<Attachment>[],
  trained: () => Iterable<Tensor>,
  warn: (message: string) => void,
): LossTerms {
  /** The number of constant terms of each source; null once the source is judged. */
  const constant = new Map<string, number | null>();
  const report = (source: string): void => {
    constant.set(source, null);
    warn(
      `${source} has no effect: its terms depend on no trained parameter, so their gradient is 0. A term must be ` +
        'computed with differentiable operations from the logits or from the parameters.',
    );
  };
  const check = (source: string, term: Tensor): void => {
    const before = constant.get(source) ?? 0;
    if (constant.get(source) === null) return;
    if (pathsBetween(engine().state.activeTape, [...trained()], term).length > 0) constant.set(source, null);
    else if (before + 1 >= CHECKED_TERMS) report(source);
    else constant.set(source, before + 1);
  };
  return {
    ofCallback(plugin, term) {
      const source = `addLoss of '${plugin}'`;
      if (term !== undefined) check(source, term);
      else if (!constant.has(source)) constant.set(source, 0);
    },
    ofStrategy(attachment, term) {
      const { plugin = 'a strategy' } = attachments.find(({ instance }) => instance === attachment) ?? {};
      check(`penalty of '${plugin}'`, term);
    },
    finish() {
      for (const [source, terms] of constant) {
        if (terms === 0) warn(`${source} had no effect: it added no term to the loss of any step.`);
        else if (terms !== null) report(source);
      }
    },
  };
}
