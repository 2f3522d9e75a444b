import type { Conversation, Origin, Recipe, Removal, TransformReport } from '@whetstone/core/contract';
import { ownValue } from '@whetstone/core/util';
import type { Fingerprint } from './duplicates/finder.js';

/** Collects the report of one pass of a transform. */
export interface TransformLog {
  readonly report: TransformReport;
  in(): void;
  out(): void;
  remove(conversation: { readonly origin: Origin }, reason: string, detail?: string): void;
  changed(kind: string, count?: number): void;
}

export function createLog(name: string): TransformLog {
  let conversationsIn = 0;
  let conversationsOut = 0;
  const removed: Record<string, number> = {};
  const changed: Record<string, number> = {};
  const removals: Removal[] = [];
  return {
    get report(): TransformReport {
      return { name, conversationsIn, conversationsOut, removed, changed, removals };
    },
    in: () => void conversationsIn++,
    out: () => void conversationsOut++,
    remove({ origin }, reason, detail) {
      removed[reason] = (ownValue(removed, reason) ?? 0) + 1;
      removals.push({ origin, reason, detail });
    },
    changed(kind, count = 1) {
      if (count > 0) changed[kind] = (ownValue(changed, kind) ?? 0) + count;
    },
  };
}

/** Returns a conversation, changed or not, or null if it is removed (after `log.remove`). */
export type Visit = (
  conversation: Conversation,
  log: TransformLog,
) => Conversation | null | Promise<Conversation | null>;

/** Returns whether a conversation is kept. It sees the fingerprints of all conversations in the order of the data. */
export type FilterFunction = (fingerprint: Fingerprint, origin: Origin, log: TransformLog) => boolean;

/**
 * The work of a transform, as worker threads share it. A `visit` treats each conversation alone and runs on any thread.
 * A `filter` needs the order of the data: it runs on one thread, with fingerprints that any thread computes.
 */
export type TransformStep =
  | { readonly kind: 'visit'; begin(): Visit | Promise<Visit> }
  | {
      readonly kind: 'filter';
      fingerprint(conversation: Conversation): Fingerprint;
      begin(): FilterFunction | Promise<FilterFunction>;
    };

/** A transform with its report. */
export interface ReportingTransform {
  transform(conversations: AsyncIterable<Conversation>): AsyncIterable<Conversation>;
  readonly report: TransformReport;
  readonly step: TransformStep;
  readonly recipe?: Recipe;
}

/** Returns a step as a visit, for a pass on one thread. */
async function visitOf(step: TransformStep): Promise<Visit> {
  if (step.kind === 'visit') return step.begin();
  const filter = await step.begin();
  return (conversation, log) =>
    filter(step.fingerprint(conversation), conversation.origin, log) ? conversation : null;
}

/**
 * Creates a transform that treats one conversation after the other. Every pass calls `begin` again, so that no state
 * remains from the pass before.
 *
 * @param recipe how a worker thread creates the transform; without one it runs on the main thread only
 */
export function createTransform(
  name: string,
  given: TransformStep | (() => Visit | Promise<Visit>),
  recipe?: Recipe,
): ReportingTransform {
  const step: TransformStep = typeof given === 'function' ? { kind: 'visit', begin: given } : given;
  let log = createLog(name);
  return {
    async *transform(conversations) {
      log = createLog(name);
      const current = log;
      const visit = await visitOf(step);
      for await (const conversation of conversations) {
        current.in();
        const result = await visit(conversation, current);
        if (result === null) continue;
        current.out();
        yield result;
      }
    },
    get report(): TransformReport {
      return log.report;
    },
    step,
    recipe,
  };
}

/**
 * The version of the built-in transforms, for manifests and cache keys. It is raised whenever a transform changes its
 * output.
 */
export const TRANSFORMS_VERSION = 4;

/** Returns the recipe of a built-in transform: the name and options of its plugin. */
export function recipeOf(use: string, options: object, baseFolder: string, files?: readonly string[]): Recipe {
  return {
    module: '@whetstone/data/plugins',
    name: 'remakeTransform',
    argument: { use, options: options as Record<string, never>, baseFolder, version: TRANSFORMS_VERSION },
    files,
  };
}
