import type { Origin, Place } from '@whetstone/core/contract';

const formatOne = ({ file, line, index }: Origin): string =>
  file === undefined ? `conversation ${index + 1}` : `${file}:${line ?? index + 1}`;

/**
 * Formats an origin for messages: `train.jsonl:12`, or `conversation 12` without a file. The origins of a conversation
 * that was made of several are joined: `train.jsonl:3 + train.jsonl:12`.
 */
export const formatOrigin = (origin: Origin): string => [...(origin.others ?? []), origin].map(formatOne).join(' + ');

/** Returns an origin as the place of an error; undefined without a file. */
export const placeOf = ({ file, line }: Origin): Place | undefined => (file === undefined ? undefined : { file, line });
