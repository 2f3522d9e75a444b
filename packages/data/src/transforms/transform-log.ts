import type { Conversation, Origin, Recipe, Removal, TransformReport } from '@whetstone/core/contract';
import type { Fingerprint } from './duplicates/finder.js';

/** Counts what one pass of a transform does. */
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
      removed[reason] = (removed[reason] ?? 0) + 1;
      removals.push({ origin, reason, ...(detail === undefined ? {} : { detail }) });
    },
    changed(kind, count = 1) {
      if (count > 0) changed[kind] = (changed[kind] ?? 0) + count;
    },
  };
}

/** Looks at one conversation: gives it back, changed or not, or null after `log.remove`. */
export type Visit = (
  conversation: Conversation,
  log: TransformLog,
) => Conversation | null | Promise<Conversation | null>;

/**
 * Says of conversations, one after the other, whether they stay: what must see all of them in their order, but only
 * little of each.
 */
export type Decide = (fingerprint: Fingerprint, origin: Origin, log: TransformLog) => boolean;

/**
 * A transform as threads share its work: `visit` is done wherever the conversation is; `decide` on one thread, by what
 * others made of each conversation.
 */
export type Stage =
  | { readonly kind: 'visit'; begin(): Visit | Promise<Visit> }
  | {
      readonly kind: 'decide';
      fingerprint(conversation: Conversation): Fingerprint;
      begin(): Decide | Promise<Decide>;
    };

/** A transform with its report. */
export interface ReportingTransform {
  transform(conversations: AsyncIterable<Conversation>): AsyncIterable<Conversation>;
  readonly report: TransformReport;
  readonly stage: Stage;
  readonly recipe?: Recipe;
}

/** The visit that a stage comes to where one thread does all of it. */
async function visitOf(stage: Stage): Promise<Visit> {
  if (stage.kind === 'visit') return stage.begin();
  const decide = await stage.begin();
  return (conversation, log) =>
    decide(stage.fingerprint(conversation), conversation.origin, log) ? conversation : null;
}

/**
 * Makes a transform that looks at one conversation after the other. Its stage is begun anew in every pass, so that
 * nothing is kept from one to the next.
 *
 * @param recipe how a worker thread makes it; without one it stays on the main thread
 */
export function createTransform(
  name: string,
  given: Stage | (() => Visit | Promise<Visit>),
  recipe?: Recipe,
): ReportingTransform {
  const stage: Stage = typeof given === 'function' ? { kind: 'visit', begin: given } : given;
  let log = createLog(name);
  return {
    async *transform(conversations) {
      log = createLog(name);
      const current = log;
      const visit = await visitOf(stage);
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
    stage,
    ...(recipe === undefined ? {} : { recipe }),
  };
}

/**
 * Raised whenever a built-in transform makes other conversations of the same ones than before: part of manifests, and
 * of the key of cached tokens.
 */
export const TRANSFORMS_VERSION = 3;

/** The recipe of a built-in transform: its plugin's name and options. */
export function recipeOf(use: string, options: object, baseFolder: string, files?: readonly string[]): Recipe {
  return {
    module: '@whetstone/data/plugins',
    name: 'remakeTransform',
    argument: { use, options: options as Record<string, never>, baseFolder, version: TRANSFORMS_VERSION },
    ...(files === undefined ? {} : { files }),
  };
}
