import type { Conversation, DataSource, DataSummary, DataTransform, TransformReport } from '@whetstone/core/contract';

/** The findings of a pass on worker threads. */
interface PassFindings {
  readonly unreadable: DataSummary['unreadable'];
  readonly reports: readonly TransformReport[];
}

/** A source whose conversations pass through transforms. */
export interface TransformedSource extends DataSource {
  /** The report of each transform in the latest pass, in order. */
  readonly reports: readonly TransformReport[];
  /** The source without transforms. */
  readonly source: DataSource;
  readonly transforms: readonly DataTransform[];
  /** Sets the findings of the latest pass, which worker threads have made. */
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

/** Returns a source that applies transforms to the conversations of another source while they are read. */
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
