import { countText } from './bounds.js';

const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

const padded = (number: number, width = 2, fill = '0'): string => String(number).padStart(width, fill);

/**
 * Implements Python's `strftime` in the C locale, for the local time of `date`. Unknown directives are not replaced.
 */
export function strftime(date: Date, format: string): string {
  const [year, month, day, hour, minute, second] = [
    date.getFullYear(),
    date.getMonth(),
    date.getDate(),
    date.getHours(),
    date.getMinutes(),
    date.getSeconds(),
  ];
  const hour12 = hour % 12 === 0 ? 12 : hour % 12;
  const directives: Readonly<Record<string, () => string>> = {
    Y: () => padded(year, 4),
    y: () => padded(year % 100),
    m: () => padded(month + 1),
    d: () => padded(day),
    e: () => padded(day, 2, ' '),
    H: () => padded(hour),
    I: () => padded(hour12),
    M: () => padded(minute),
    S: () => padded(second),
    B: () => MONTHS[month] ?? '',
    b: () => (MONTHS[month] ?? '').slice(0, 3),
    h: () => (MONTHS[month] ?? '').slice(0, 3),
    A: () => DAYS[date.getDay()] ?? '',
    a: () => (DAYS[date.getDay()] ?? '').slice(0, 3),
    p: () => (hour < 12 ? 'AM' : 'PM'),
    w: () => String(date.getDay()),
    f: () => padded(date.getMilliseconds() * 1000, 6),
    z: () => '',
    Z: () => '',
    j: () =>
      padded(Math.round((new Date(year, month, day).getTime() - new Date(year, 0, 0).getTime()) / 86_400_000), 3),
    F: () => `${padded(year, 4)}-${padded(month + 1)}-${padded(day)}`,
    T: () => `${padded(hour)}:${padded(minute)}:${padded(second)}`,
    R: () => `${padded(hour)}:${padded(minute)}`,
    D: () => `${padded(month + 1)}/${padded(day)}/${padded(year % 100)}`,
    '%': () => '%',
    n: () => '\n',
    t: () => '\t',
  };
  // `%-d` omits the padding.
  countText(9 * format.length);
  return format.replace(/%(-?)([a-zA-Z%])/g, (written, minus: string, letter: string) => {
    const value = directives[letter]?.();
    if (value === undefined) return written;
    return minus === '' ? value : value.replace(/^[0 ]+(?=.)/, '');
  });
}
