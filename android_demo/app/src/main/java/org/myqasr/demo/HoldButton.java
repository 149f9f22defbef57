package org.myqasr.demo;

import android.content.Context;
import android.view.MotionEvent;
import android.view.View;
import android.view.accessibility.AccessibilityManager;

/** Makes a button record while it is held; with TalkBack, or from a keyboard, a click starts and another stops. */
final class HoldButton {
    /** What the button does. */
    interface Holding {
        /** Whether recording began. */
        boolean begin();

        void end();
    }

    private final Holding holding;
    private boolean on;

    private HoldButton(Holding holding) {
        this.holding = holding;
    }

    static void attach(View button, Holding holding) {
        HoldButton hold = new HoldButton(holding);
        button.setOnTouchListener(hold::touched);
        button.setOnClickListener(view -> hold.set(!hold.on));
    }

    private boolean touched(View view, MotionEvent event) {
        AccessibilityManager access =
                (AccessibilityManager) view.getContext().getSystemService(Context.ACCESSIBILITY_SERVICE);
        if (access.isTouchExplorationEnabled()) {
            return false; // becomes a click
        }
        switch (event.getActionMasked()) {
            case MotionEvent.ACTION_DOWN:
                view.setPressed(true);
                view.getParent().requestDisallowInterceptTouchEvent(true); // the page must not scroll away
                set(true);
                return true;
            case MotionEvent.ACTION_UP:
            case MotionEvent.ACTION_CANCEL:
                view.setPressed(false);
                set(false);
                return true;
            default:
                return true;
        }
    }

    private void set(boolean wanted) {
        if (wanted && !on) {
            on = holding.begin();
        } else if (!wanted && on) {
            on = false;
            holding.end();
        }
    }
}
