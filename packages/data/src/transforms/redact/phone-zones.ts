/** The least digits of a phone number, with a plus sign and without. */
const LEAST_INTERNATIONAL = 7;
const LEAST_NATIONAL = 10;
/** The most digits of a phone number with an extension, with a margin. */
const MOST_DIGITS = 40;
/** The most groups of digits in a phone number. */
const MOST_GROUPS = 21;

const dashes = '-\\u2010-\\u2015\\u2212\\u30fc\\uff0d';
const slashesAndStops = '\\uff0f/\\uff0e.';
const spaces = ' \\u00a0\\u00ad\\u200b\\u2060\\u3000';
const brackets = '()\\uff08\\uff09\\uff3b\\uff3d[\\]';
const tildes = '~\\u2053\\u223c\\uff5e';
/** Matches the text between two digits of one number: the punctuation of libphonenumber. */
const between = new RegExp(`^[${dashes}${slashesAndStops}${spaces}${brackets}${tildes}]{0,4}$`);
const plusBefore = /[+\uff0b][-. ([\u3000\uff08]{0,4}$/;
const digit = /\p{Nd}/gu;

/** Characters after a number that may contain its extension. */
const EXTENSION = 24;

/**
 * Possible separators of adjacent numbers: slashes, brackets, hyphens with a space, wide hyphens, stops, spaces, and
 * numbers of one or two digits.
 */
const separators: readonly RegExp[] = [
  /\/+/g,
  /(?=\()/g,
  / -|- /g,
  /[\u2012-\u2015\uff0d]/g,
  /\.+/g,
  /[\s\u00a0\u3000]+/g,
  /(?:(?<=\s|^)\d{1,2}(?:\s|$))+/g,
];

/** A maximal run of digits with only the punctuation of phone numbers between them. */
interface Zone {
  readonly start: number;
  end: number;
  digits: number;
  groups: number;
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
      zone.groups++;
      continue;
    }
    if (zone !== null) yield zone;
    zone = {
      start: index,
      end: index + found.length,
      digits: found.length,
      groups: 1,
      plus: plusBefore.test(text.slice(Math.max(0, index - 5), index)),
    };
  }
  if (zone !== null) yield zone;
}

const couldBePhoneNumber = (digits: number, plus: boolean): boolean =>
  digits <= MOST_DIGITS && digits >= (plus ? LEAST_INTERNATIONAL : LEAST_NATIONAL);

/** Returns the ranges of a zone that may be a phone number, for each kind of separator. */
function candidatesIn(text: string, { start, end, plus }: Zone): Range[] {
  const inside = text.slice(start, end);
  const candidates: Range[] = [];
  for (const separator of separators) {
    let from = 0;
    const take = (to: number): void => {
      const candidate = inside.slice(from, to);
      if (couldBePhoneNumber(candidate.match(digit)?.length ?? 0, plus && from === 0))
        candidates.push({ start: start + from, end: start + to });
    };
    for (const { index, 0: found } of inside.matchAll(separator)) {
      take(index);
      from = index + found.length;
    }
    take(inside.length);
  }
  return candidates.sort((a, b) => a.start - b.start || a.end - b.end);
}

/** Returns the ranges of a text in which libphonenumber may find a phone number, including extensions. */
function candidateRanges(text: string): Range[] {
  const ranges: Range[] = [];
  for (const zone of zonesOf(text)) {
    if (zone.groups <= MOST_GROUPS && zone.digits <= MOST_DIGITS) {
      if (couldBePhoneNumber(zone.digits, zone.plus))
        ranges.push({ start: zone.start, end: Math.min(text.length, zone.end + EXTENSION) });
    } else {
      for (const range of candidatesIn(text, zone)) ranges.push(range);
    }
  }
  return ranges;
}

/**
 * Replaces every digit that cannot belong to a phone number by a line break, in linear time. Returns null if no digit
 * is left. Without this, libphonenumber tries all combinations of numbers in tables.
 */
export function maskOtherDigits(text: string): string | null {
  const ranges = candidateRanges(text);
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
