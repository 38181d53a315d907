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
    this.isBehind = !this.isSeen;
    if (this.isSeen) this.renew();
  }

  // For an element that shows something else from now on.
  forget() { this.isBehind = false; }
}
