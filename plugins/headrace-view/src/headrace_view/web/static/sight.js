// Brings an element up to date only while it is in sight, and when it comes into sight or is printed.

export class InSight {
  isSeen = false;
  isBehind = false;

  constructor(element, renew) {
    this.renew = renew;
    new IntersectionObserver((entries) => {
      this.isSeen = entries.at(-1).isIntersecting;
      if (this.isSeen && this.isBehind) this.ask();
    }).observe(element);
    addEventListener("beforeprint", () => this.isBehind && renew());
  }

  ask() {
    if (!this.waits()) this.renew();
  }

  // Whether it is out of sight; then it is brought up to date when it comes into sight.
  waits() {
    this.isBehind = !this.isSeen;
    return this.isBehind;
  }

  // For an element that shows something else from now on.
  forget() { this.isBehind = false; }
}
