import { engine, type Tensor } from '@tensorflow/tfjs-core';
import type { Attachment } from '../contract/strategy.js';
import type { Named } from './named.js';
import { pathsBetween } from './tape.js';

/** Finds terms of the loss that change nothing: they depend on no trained parameter, or never exist. */
export interface LossTerms {
  /**
   * Checks the first term of a callback; undefined if the callback adds none to this microbatch. Call while the tape
   * records the loss.
   */
  ofCallback(plugin: string, term: Tensor | undefined): void;
  /** Checks the first penalty of a strategy. Call while the tape records it. */
  ofStrategy(attachment: Attachment, term: Tensor): void;
  /** Warns about the callbacks that never added a term. Call after the last step. */
  finish(): void;
}

/**
 * Creates the check of a run's loss terms. It warns about each source of constant terms once.
 *
 * @param trained returns the trained parameters
 */
export function createLossTerms(
  attachments: readonly Named<Attachment>[],
  trained: () => Iterable<Tensor>,
  warn: (message: string) => void,
): LossTerms {
  const checked = new Set<string>();
  const silent = new Set<string>();
  const check = (source: string, term: Tensor): void => {
    if (checked.has(source)) return;
    checked.add(source);
    if (pathsBetween(engine().state.activeTape, [...trained()], term).length > 0) return;
    warn(
      `${source} has no effect: the term depends on no trained parameter, so its gradient is 0. A term must be ` +
        'computed with differentiable operations from the logits or from the parameters.',
    );
  };
  return {
    ofCallback(plugin, term) {
      const source = `addLoss of '${plugin}'`;
      if (term === undefined) return void (checked.has(source) || silent.add(source));
      silent.delete(source);
      check(source, term);
    },
    ofStrategy(attachment, term) {
      const { plugin = 'a strategy' } = attachments.find(({ instance }) => instance === attachment) ?? {};
      check(`penalty of '${plugin}'`, term);
    },
    finish() {
      for (const source of silent) warn(`${source} had no effect: it added no term to the loss of any step.`);
    },
  };
}
