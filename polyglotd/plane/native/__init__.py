"""The data plane in C++, behind `native/include/polyglot_driver.h`: `library` loads it, `plane` is the `Plane`."""
