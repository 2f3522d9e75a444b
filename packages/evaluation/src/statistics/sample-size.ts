/** Rational approximations of AS 241 (Wichura 1988), by the distance from the centre of the distribution. */
const CENTRE = {
  above: [
    3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987, 67265.7709270087,
    33430.57558358813, 2509.0809287301227,
  ],
  below: [
    1, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271,
    28729.085735721943, 5226.495278852854,
  ],
} as const;
const MIDDLE = {
  above: [
    1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684,
    0.2417807251774506, 0.022723844989269184, 0.0007745450142783414,
  ],
  below: [
    1, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
    0.0005475938084995345, 1.0507500716444169e-9,
  ],
} as const;
const TAIL = {
  above: [
    6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487, 0.026532189526576124,
    0.0012426609473880784, 0.000027115555687434876, 2.0103343992922881e-7,
  ],
  below: [
    1, 0.599832206555888, 0.1369298809227358, 0.014875361290850615, 0.0007868691311456133, 0.000018463183175100548,
    1.421511758316446e-7, 2.0442631033899397e-15,
  ],
} as const;

/** Returns the value of a polynomial; its coefficients start with that of the power 0. */
const polynomial = (coefficients: readonly number[], x: number): number =>
  coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0);

const ratio = ({ above, below }: { readonly above: readonly number[]; readonly below: readonly number[] }, x: number) =>
  polynomial(above, x) / polynomial(below, x);

/**
 * Returns the quantile of the standard normal distribution, accurate to about 16 digits (AS 241, Wichura 1988).
 *
 * @param probability between 0 and 1
 */
export function normalQuantile(probability: number): number {
  const centred = probability - 0.5;
  if (Math.abs(centred) <= 0.425) return centred * ratio(CENTRE, 0.180625 - centred ** 2);
  const distance = Math.sqrt(-Math.log(Math.min(probability, 1 - probability)));
  return Math.sign(centred) * (distance <= 5 ? ratio(MIDDLE, distance - 1.6) : ratio(TAIL, distance - 5));
}

/** Options of {@link samplesForDifference}. */
interface SampleSizeOptions {
  /** The difference of the means that has to be found, above 0. */
  readonly difference: number;
  /** The standard deviation of a sample's difference between the models. */
  readonly deviation: number;
  /** Probability of reporting a difference that does not exist; 0.05 by default. */
  readonly significance?: number;
  /** Probability of finding a difference that exists; 0.8 by default. */
  readonly power?: number;
}

/**
 * Returns the number of samples on which two models have to be compared to find a difference of their means: the
 * two-sided z-test of paired samples, ((z₁₋α/₂ + z_power) · deviation ÷ difference)², rounded up.
 */
export const samplesForDifference = ({
  difference,
  deviation,
  significance = 0.05,
  power = 0.8,
}: SampleSizeOptions): number =>
  Math.ceil((((normalQuantile(1 - significance / 2) + normalQuantile(power)) * deviation) / difference) ** 2);
