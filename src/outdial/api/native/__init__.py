"""outdial's own surface: what the vendor's has no endpoint for."""
