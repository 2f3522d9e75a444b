import type { Conversation, DataSource, DataSummary, DataTransform, TransformReport } from '@whetstone/core/contract';

/** What a pass over a source found, where worker threads made it. */
interface PassFindings {
  readonly unreadable: DataSummary['unreadable'];
  readonly reports: readonly TransformReport[];
}

/** A source whose conversations went through transforms. */
export interface TransformedSource extends DataSource {
  /** What each transform did in the latest pass, in their order. */
  readonly reports: readonly TransformReport[];
  /** What it is made of, for threads that share the work. */
  readonly source: DataSource;
  readonly transforms: readonly DataTransform[];
  /** Takes what a pass of other threads found as that of the latest pass. */
  adopt(findings: PassFindings): void;
}

export function isTransformed(source: DataSource): source is TransformedSource {
  return 'transforms' in source && 'adopt' in source;
}

async function* asAsync(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
): AsyncGenerator<Conversation> {
  yield* conversations;
}

/** Sends the conversations of a source through transforms, one after the other, as they are read. */
export function applyTransforms(source: DataSource, transforms: readonly DataTransform[]): TransformedSource {
  let adopted: PassFindings | null = null;
  return {
    conversations() {
      adopted = null;
      return transforms.reduce<AsyncIterable<Conversation>>(
        (conversations, transform) => transform.transform(conversations),
        asAsync(source.conversations()),
      );
    },
    get unreadable(): DataSummary['unreadable'] {
      return adopted?.unreadable ?? source.unreadable;
    },
    files: source.files,
    get reports(): readonly TransformReport[] {
      return adopted?.reports ?? transforms.flatMap(({ report }) => report ?? []);
    },
    source,
    transforms,
    adopt(findings) {
      adopted = findings;
    },
  };
}
