import { WhetstoneError, type RunOutline, type UnusedOption } from '@whetstone/core/contract';
import { configSchema, type OwnRepliesOptions, type RepetitionPenaltyOptions } from './options.js';

const isSet = (options: RepetitionPenaltyOptions, key: 'ngram' | 'window'): boolean =>
  options[key] !== configSchema.properties[key].default;

/** Returns why the model's own replies are never penalized; null if they are. */
function unusedReplies({ prompts, ngram, maxNewTokens }: OwnRepliesOptions, { totalSteps }: RunOutline): string | null {
  if (ngram >= maxNewTokens) return `a reply of ${maxNewTokens} tokens cannot repeat an n-gram of ${ngram}`;
  return prompts === null && totalSteps < 2
    ? 'without prompts of its own, the first replies are generated before the second step'
    : null;
}

/** Returns the numbers of replies that exceed what there is. */
function tooManyReplies({ prompts, pool, perMicrobatch }: OwnRepliesOptions): readonly UnusedOption[] {
  const replies = Math.min(pool, prompts?.length ?? pool);
  const { properties } = configSchema.properties.generated;
  const effect = 'is too large';
  return [
    ...(pool > replies && pool !== properties.pool.default
      ? [{ path: 'generated.pool', effect, reason: `there are only ${replies} prompts` }]
      : []),
    ...(perMicrobatch > replies && perMicrobatch !== properties.perMicrobatch.default
      ? [{ path: 'generated.perMicrobatch', effect, reason: `only ${replies} replies are generated at once` }]
      : []),
  ];
}

/**
 * Returns the options that change nothing.
 *
 * @throws `CONFIG_CONFLICT` if every term of the loss is 0
 */
export function checkRepetitionPenalty(
  options: RepetitionPenaltyOptions & { readonly generated: OwnRepliesOptions | null },
  run: RunOutline,
): readonly UnusedOption[] {
  const { unlikelihood, diversity, generated } = options;
  const reason = generated === null ? null : unusedReplies(generated, run);
  if (unlikelihood === 0 && diversity === 0 && (generated === null || reason !== null))
    throw new WhetstoneError('CONFIG_CONFLICT', 'repetition-penalty could never act: it adds no term to the loss.', {
      place: { path: 'callbacks' },
      expected: 'unlikelihood or diversity above 0, or generated',
      found: `unlikelihood 0, diversity 0, generated ${generated === null ? 'null' : `without effect: ${reason}`}`,
    });
  const unused: UnusedOption[] = [];
  if (reason !== null) unused.push({ path: 'generated', reason });
  else if (
    generated !== null &&
    generated.everySteps >= run.totalSteps &&
    generated.everySteps !== configSchema.properties.generated.properties.everySteps.default
  )
    unused.push({
      path: 'generated.everySteps',
      reason: `the replies are not generated again, because the run has only ${run.totalSteps} steps`,
    });
  if (reason === null && generated !== null) unused.push(...tooManyReplies(generated));
  for (const key of ['ngram', 'window'] as const)
    if (unlikelihood === 0 && isSet(options, key)) unused.push({ path: key, reason: 'unlikelihood is 0' });
  return unused;
}
