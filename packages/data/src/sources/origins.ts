import type { Origin, Place } from '@whetstone/core/contract';

/** Formats an origin for messages: `train.jsonl:12`, or `conversation 12` without a file. */
export const formatOrigin = ({ file, line, index }: Origin): string =>
  file === undefined ? `conversation ${index + 1}` : `${file}:${line ?? index + 1}`;

/** Returns an origin as the place of an error; undefined without a file. */
export const placeOf = ({ file, line }: Origin): Place | undefined => (file === undefined ? undefined : { file, line });
