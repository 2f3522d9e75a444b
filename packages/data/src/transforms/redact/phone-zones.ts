/** Digits that a text must hold in one zone to be a phone number: written from a plus sign on, or at home. */
const LEAST_INTERNATIONAL = 7;
const LEAST_NATIONAL = 10;
/** The longest number, with an extension and something to spare. */
const MOST_DIGITS = 40;
/** So many stretches of digits are taken for one number at most. */
const MOST_STRETCHES = 21;

const dashes = '-\\u2010-\\u2015\\u2212\\u30fc\\uff0d';
const slashesAndStops = '\\uff0f/\\uff0e.';
const spaces = ' \\u00a0\\u00ad\\u200b\\u2060\\u3000';
const brackets = '()\\uff08\\uff09\\uff3b\\uff3d[\\]';
const tildes = '~\\u2053\\u223c\\uff5e';
/** Matches the text between two digits of one number: the punctuation of libphonenumber. */
const between = new RegExp(`^[${dashes}${slashesAndStops}${spaces}${brackets}${tildes}]{0,4}$`);
const plusBefore = /[+\uff0b][-. ([\u3000\uff08]{0,4}$/;
const digit = /\p{Nd}/gu;

/** Characters after a number in which its extension may stand. */
const EXTENSION = 24;

/**
 * What numbers beside one another are parted by, each kind for itself: slashes, brackets, hyphens with a space, wide
 * hyphens, stops, spaces, and numbers of one or two digits.
 */
const partings: readonly RegExp[] = [
  /\/+/g,
  /(?=\()/g,
  / -|- /g,
  /[\u2012-\u2015\uff0d]/g,
  /\.+/g,
  /[\s\u00a0\u3000]+/g,
  /(?:(?<=\s|^)\d{1,2}(?:\s|$))+/g,
];

/** Digits with nothing but a phone number's punctuation between them, as long as they go on. */
interface Zone {
  readonly start: number;
  end: number;
  digits: number;
  stretches: number;
  readonly plus: boolean;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function* zonesOf(text: string): Generator<Zone> {
  let zone: Zone | null = null;
  for (const { index, 0: found } of text.matchAll(/\p{Nd}+/gu)) {
    if (zone !== null && index - zone.end <= 4 && between.test(text.slice(zone.end, index))) {
      zone.end = index + found.length;
      zone.digits += found.length;
      zone.stretches++;
      continue;
    }
    if (zone !== null) yield zone;
    zone = {
      start: index,
      end: index + found.length,
      digits: found.length,
      stretches: 1,
      plus: plusBefore.test(text.slice(Math.max(0, index - 5), index)),
    };
  }
  if (zone !== null) yield zone;
}

const couldBeOne = (digits: number, plus: boolean): boolean =>
  digits <= MOST_DIGITS && digits >= (plus ? LEAST_INTERNATIONAL : LEAST_NATIONAL);

/** The parts of a zone of many numbers that could each be a phone number; neighbours that touch are one part. */
function hopefulParts(text: string, { start, end, plus }: Zone): Range[] {
  const inside = text.slice(start, end);
  const parts: Range[] = [];
  for (const parting of partings) {
    let from = 0;
    const take = (to: number): void => {
      const part = inside.slice(from, to);
      if (couldBeOne(part.match(digit)?.length ?? 0, plus && from === 0))
        parts.push({ start: start + from, end: start + to });
    };
    for (const { index, 0: found } of inside.matchAll(parting)) {
      take(index);
      from = index + found.length;
    }
    take(inside.length);
  }
  return parts.sort((a, b) => a.start - b.start || a.end - b.end);
}

/**
 * The stretches of a text in which libphonenumber can find something that counts as a phone number, each with room for
 * an extension.
 */
function hopefulRanges(text: string): Range[] {
  const ranges: Range[] = [];
  for (const zone of zonesOf(text)) {
    if (zone.stretches <= MOST_STRETCHES && zone.digits <= MOST_DIGITS) {
      if (couldBeOne(zone.digits, zone.plus))
        ranges.push({ start: zone.start, end: Math.min(text.length, zone.end + EXTENSION) });
    } else {
      for (const part of hopefulParts(text, zone)) ranges.push(part);
    }
  }
  return ranges;
}

/**
 * The text with a line break in place of every digit that cannot be part of a phone number: in tables of numbers,
 * libphonenumber tries each for itself and in many combinations. Null where nothing is left. Takes time in proportion
 * to the text's length.
 */
export function onlyPhoneZones(text: string): string | null {
  const ranges = hopefulRanges(text);
  if (ranges.length === 0) return null;
  let result = '';
  let position = 0;
  const blank = (to: number): void => {
    if (to > position) result += text.slice(position, to).replace(digit, (found) => '\n'.repeat(found.length));
  };
  for (const { start, end } of ranges) {
    if (end <= position) continue;
    blank(start);
    result += text.slice(Math.max(start, position), end);
    position = end;
  }
  blank(text.length);
  return result;
}
