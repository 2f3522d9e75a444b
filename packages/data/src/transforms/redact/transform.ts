import { defaultsOf } from '@whetstone/core/contract';
import { mapText } from '../map-text.js';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import type { PersonalDataKind } from '../../choices.js';
import { detectPersonalData } from './detectors.js';
import { redactSchema, type DetectOptions, type RedactOptions } from './options.js';

const labels: Readonly<Record<PersonalDataKind, string>> = {
  email: 'EMAIL',
  card: 'CARD',
  iban: 'IBAN',
  'national-id': 'ID',
  ip: 'IP',
  phone: 'PHONE',
  address: 'ADDRESS',
  name: 'NAME',
};

/** Normalizes a value, so that different spellings of the same value are equal: no spaces and hyphens, lower case. */
const identityOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[\s().+-]/g, '')
    .replace(/^(?:00)?86(?=1\d{10}$)/, '');

/** Creates placeholders for a conversation: equal values have the same placeholder, for example `[PHONE_1]`. */
function createPlaceholders(): (kind: PersonalDataKind, value: string) => string {
  const numbers = new Map<string, number>();
  const counts = new Map<PersonalDataKind, number>();
  return (kind, value) => {
    const key = `${kind}|${identityOf(value)}`;
    let number = numbers.get(key);
    if (number === undefined) {
      number = (counts.get(kind) ?? 0) + 1;
      counts.set(kind, number);
      numbers.set(key, number);
    }
    return `[${labels[kind]}_${number}]`;
  };
}

/** Replaces personal data in a text by placeholders. */
export function redactText(
  text: string,
  options: DetectOptions,
  placeholder = createPlaceholders(),
  onFound: (kind: PersonalDataKind) => void = () => {},
): string {
  let result = '';
  let position = 0;
  for (const { kind, start, end } of detectPersonalData(text, options)) {
    onFound(kind);
    result += text.slice(position, start) + placeholder(kind, text.slice(start, end));
    position = end;
  }
  return result + text.slice(position);
}

/** Creates a transform that replaces personal data, or removes the conversations that contain it. */
export function createRedactTransform(options: Partial<RedactOptions> = {}): ReportingTransform {
  const all = { ...defaultsOf(redactSchema), ...options };
  return createTransform(
    'redact',
    () => (conversation, log) => {
      const placeholder = createPlaceholders();
      const found = new Set<PersonalDataKind>();
      const redacted = mapText(conversation, (text) =>
        redactText(text, all, placeholder, (kind) => {
          found.add(kind);
          if (all.action === 'redact') log.changed(kind);
        }),
      );
      if (all.action === 'redact' || found.size === 0) return redacted;
      log.remove(conversation, 'personal-data', `contains ${[...found].join(', ')}`);
      return null;
    },
    recipeOf('redact', all, '.'),
  );
}
