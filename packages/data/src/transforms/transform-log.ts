import type { Conversation, Removal, TransformReport } from '@whetstone/core/contract';

/** Counts what one pass of a transform does. */
export interface TransformLog {
  readonly report: TransformReport;
  in(): void;
  out(): void;
  remove(conversation: Conversation, reason: string, detail?: string): void;
  changed(kind: string, count?: number): void;
}

function createLog(name: string): TransformLog {
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
export type Visit = (conversation: Conversation, log: TransformLog) => Conversation | null | Promise<Conversation | null>;

/** A transform with its report. */
export interface ReportingTransform {
  transform(conversations: AsyncIterable<Conversation>): AsyncIterable<Conversation>;
  readonly report: TransformReport;
}

/**
 * Makes a transform that looks at one conversation after the other. `begin` is called at the start of every pass, so that nothing is kept from one to
 * the next.
 */
export function createTransform(name: string, begin: () => Visit | Promise<Visit>): ReportingTransform {
  let log = createLog(name);
  return {
    async *transform(conversations) {
      log = createLog(name);
      const current = log;
      const visit = await begin();
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
  };
}
