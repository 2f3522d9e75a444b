import type { Conversation, DataSource, DataSummary, DataTransform, TransformReport } from '@whetstone/core/contract';

/** A source whose conversations went through transforms. */
export interface TransformedSource extends DataSource {
  /** What each transform did in the latest pass, in their order. */
  readonly reports: readonly TransformReport[];
}

async function* asAsync(conversations: AsyncIterable<Conversation> | Iterable<Conversation>): AsyncGenerator<Conversation> {
  yield* conversations;
}

/** Sends the conversations of a source through transforms, one after the other, as they are read. */
export function applyTransforms(source: DataSource, transforms: readonly DataTransform[]): TransformedSource {
  return {
    conversations: () => transforms.reduce<AsyncIterable<Conversation>>((conversations, transform) => transform.transform(conversations), asAsync(source.conversations())),
    get unreadable(): DataSummary['unreadable'] {
      return source.unreadable;
    },
    files: source.files,
    get reports(): readonly TransformReport[] {
      return transforms.flatMap(({ report }) => report ?? []);
    },
  };
}
